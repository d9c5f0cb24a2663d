"""What a test does with an S3 server beside the gate.

setup URL BUCKET [lock]       makes a bucket and two users; from then on signatures and rights are checked. Prints their keys: of the
                              recorder, who may put, get and list, and of an administrator
copy URL BUCKET PREFIX DIR    copies the objects under a prefix into a folder
locked URL BUCKET PREFIX      tries to delete every version under a prefix; prints how many are locked and how many were deleted

The last two take the administrator's key from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
"""

import json
import os
import pathlib
import sys
import urllib.request

import boto3
from botocore.exceptions import ClientError

RECORDER = ["PutObject", "GetObject", "ListBucket", "PutObjectRetention", "GetBucketObjectLockConfiguration",
            "GetObjectLockConfiguration"]


def client(service, url, key="anybody", secret="anybody"):
    return boto3.client(service, endpoint_url=url, region_name="us-east-1", aws_access_key_id=key, aws_secret_access_key=secret)


def administrator(url):
    return client("s3", url, os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])


def user(iam, name, actions):
    iam.create_user(UserName=name)
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}
    iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return [key["AccessKeyId"], key["SecretAccessKey"]]


def setup(url, bucket, lock=None):
    client("s3", url).create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=lock == "lock")
    iam = client("iam", url)
    keys = user(iam, "recorder", [f"s3:{action}" for action in RECORDER]) + user(iam, "administrator", ["s3:*"])
    enforce = urllib.request.Request(f"{url}/moto-api/reset-auth", data=b"0", headers={"content-type": "text/plain"})
    urllib.request.urlopen(enforce).read()
    print("\n".join(keys))


def objects(s3, bucket, prefix):
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for entry in page.get("Contents", []):
            yield entry["Key"]


def copy(url, bucket, prefix, folder):
    s3 = administrator(url)
    for key in objects(s3, bucket, prefix):
        path = pathlib.Path(folder) / key.removeprefix(prefix)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(s3.get_object(Bucket=bucket, Key=key)["Body"].read())


def locked(url, bucket, prefix):
    s3 = administrator(url)
    kept = deleted = 0
    for version in s3.list_object_versions(Bucket=bucket, Prefix=prefix).get("Versions", []):
        try:
            s3.delete_object(Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"])
            deleted += 1
        except ClientError as error:
            assert error.response["Error"]["Code"] == "AccessDenied", error
            held = s3.head_object(Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"])
            assert held["ObjectLockMode"] == "COMPLIANCE", held
            kept += 1
    print(f"{kept} locked, {deleted} deleted")


if __name__ == "__main__":
    {"setup": setup, "copy": copy, "locked": locked}[sys.argv[1]](*sys.argv[2:])
