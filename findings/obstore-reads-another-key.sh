#!/usr/bin/env bash
# Guess: obstore hands keys to S3 as they are, as boto3 does; what it cannot express it refuses.
# Is:    it takes a key for a path and drops a slash at either end: get("/state") and get("state/") give the object "state", if
#        there is one, and put("/state") writes over it, without a word. A key with an empty part ("state//1") it refuses; and
#        one such key in a bucket makes every listing that would meet it fail as a whole, for all other keys too.
# Seen:  obstore 0.12.1 with moto 5.2.5, boto3 1.44.8, 2026-12-01.
# Matters because all four keys are valid and different in S3: a backup of a bucket through it can hold one object under another's
#        name, and one odd key leaves it with no list at all. List and read by a client that takes keys for strings.
. "$(dirname "$0")/lab/lab.bash"
packages obstore==0.12.1 'moto[server]==5.2.5' boto3==1.44.8
claims <<'END'
import obstore
from lab import same
from lab_moto import S3
from obstore.store import S3Store

s3 = S3()
store = S3Store(
    "backups",
    endpoint=s3.url,
    region="us-east-1",
    access_key_id="access",
    secret_access_key="secret",
    client_options={"allow_http": True},
    virtual_hosted_style_request=False,
)


def held(key):
    return s3.client.get_object(Bucket="backups", Key=key)["Body"].read()


def outcome(call, *values):
    try:
        return call(*values)
    except Exception as error:
        return type(error).__name__


def read(key):
    return bytes(obstore.get(store, key).bytes())


def listed():
    return sorted(one["path"] for batch in obstore.list(store) for one in batch)


for key in ("state", "/state", "state/"):
    s3.client.put_object(Bucket="backups", Key=key, Body=f"this is {key}".encode())
for key in ("state", "/state", "state/"):
    same(f"get {key}", outcome(read, key), b"this is state")
obstore.put(store, "/state", b"written by obstore")
same("after put /state: state", held("state"), b"written by obstore")
same("/state", held("/state"), b"this is /state")
s3.client.put_object(Bucket="backups", Key="other", Body=b"x")
same("keys that are there", len(s3.client.list_objects_v2(Bucket="backups")["Contents"]), 4)
same("keys that are listed", outcome(listed), ["other", "state", "state", "state"])
s3.client.put_object(Bucket="backups", Key="state//1", Body=b"x")
same("listing beside state//1", outcome(listed), "InvalidPathError")
same("get state//1", outcome(read, "state//1"), "ValueError")
END
