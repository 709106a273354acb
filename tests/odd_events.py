"""Events that reach a function though nobody wants anything of it: the console's samples, pings, other services'."""

SCHEDULED = {
    "id": "cdc73f9d-aea9-11e3-9d5a-835b769c0d9c",
    "detail-type": "Scheduled Event",
    "source": "aws.events",
    "account": "123456789012",
    "time": "1970-01-01T00:00:00Z",
    "region": "us-east-1",
    "resources": ["arn:aws:events:us-east-1:123456789012:rule/ExampleRule"],
    "detail": {},
}
"""The console's sample of a rule's event: no run of 1970 is to be started."""

ODD_EVENTS = {
    "hello-world": {"key1": "value1", "key2": "value2", "key3": "value3"},
    "one key": {"key1": "value1"},
    "null": None,
    "an empty text": "",
    "a text": "ping",
    "a list": [],
    "a list of objects": [{}],
    "a number": 0,
    "true": True,
    "a ping of serverless-plugin-warmup": {"source": "serverless-plugin-warmup"},
    "a ping of lambda-warmer": {"warmer": True, "concurrency": 3},
    "the console's scheduled event": SCHEDULED,
    "the documentation's scheduled event": SCHEDULED | {"time": "2015-10-08T16:53:06Z"},
    "payload 1.0": {
        "version": "1.0",
        "resource": "/library/rotation/{rotation_id}/tracks",
        "path": "/library/rotation/1/tracks",
        "httpMethod": "GET",
        "headers": {"Authorization": "Bearer x"},
        "pathParameters": {"rotation_id": "1"},
    },
    "no records": {"Records": []},
    "records of null": {"Records": None},
    "records of S3": {"Records": [{"eventSource": "aws:s3", "s3": {"bucket": {"name": "example-bucket"}}}]},
    "records of SNS": {"Records": [{"EventSource": "aws:sns", "Sns": {"Message": "example message"}}]},
    "records of DynamoDB": {"Records": [{"eventSource": "aws:dynamodb", "dynamodb": {"Keys": {"Id": {"N": "101"}}}}]},
    "a cookie": {"Cookies": ["x"]},
}

SAMPLE_OF_SQS = {
    "Records": [
        {
            "messageId": "19dd0b57-b21e-4ac1-bd88-01bbb068cb78",
            "receiptHandle": "MessageReceiptHandle",
            "body": "Hello from SQS!",
            "attributes": {
                "ApproximateReceiveCount": "1",
                "SentTimestamp": "1523232000000",
                "SenderId": "123456789012",
                "ApproximateFirstReceiveTimestamp": "1523232000001",
            },
            "messageAttributes": {},
            "md5OfBody": "7b270e59b47ff90a553787216d55d91d",
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:MyQueue",
            "awsRegion": "us-east-1",
        }
    ]
}
