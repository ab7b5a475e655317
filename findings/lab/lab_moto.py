"""An S3 of moto's on a free port of 127.0.0.1, and boto3's client for it, by which buckets are filled."""

from __future__ import annotations

import logging
from typing import Any

import boto3
from botocore.config import Config
from moto.server import ThreadedMotoServer

ACCESS = {"aws_access_key_id": "access", "aws_secret_access_key": "secret"}


class S3:
    """A server with an empty bucket, `backups`; ends with the process."""

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        self.url = f"http://{host}:{port}"
        options = Config(s3={"addressing_style": "path"}, retries={"max_attempts": 0})
        self.client: Any = boto3.client("s3", endpoint_url=self.url, region_name="us-east-1", config=options, **ACCESS)
        self.client.create_bucket(Bucket="backups")
