#!/usr/bin/env bash
# Guess: obstore says of an object in an archive class that it is archived, or passes S3's code on (InvalidObjectState).
# Is:    get() raises PermissionDeniedError, as for a missing right, because both are 403; S3's own code stands only in the text.
#        head() and list() do not give the storage class, so nothing tells beforehand either.
# Seen:  obstore 0.12.1 with moto 5.2.5, boto3 1.44.8, 2026-12-01.
# Matters because the cure differs: rights are mended in a minute, an archived object must be asked for and comes in hours. Code
#        that gives up at "denied" never asks.
. "$(dirname "$0")/lab/lab.bash"
packages obstore==0.12.1 'moto[server]==5.2.5' boto3==1.44.8
claims <<'END'
import obstore
from lab import same
from lab_moto import S3
from obstore.exceptions import PermissionDeniedError
from obstore.store import S3Store

s3 = S3()
s3.client.put_object(Bucket="backups", Key="old", Body=b"x", StorageClass="GLACIER")
store = S3Store(
    "backups",
    endpoint=s3.url,
    region="us-east-1",
    access_key_id="access",
    secret_access_key="secret",
    client_options={"allow_http": True},
    virtual_hosted_style_request=False,
)
try:
    seen = bytes(obstore.get(store, "old").bytes())
except PermissionDeniedError as error:
    seen = ["PermissionDeniedError", "InvalidObjectState" in str(error)]
same("get of an archived object", seen, ["PermissionDeniedError", True])
known = {"path", "last_modified", "size", "e_tag", "version"}
same("head tells more than that", set(obstore.head(store, "old")) - known, set())
same("list tells more", {name for batch in obstore.list(store) for one in batch for name in one} - known, set())
same("what S3 says in a listing", s3.client.list_objects_v2(Bucket="backups")["Contents"][0]["StorageClass"], "GLACIER")
END
