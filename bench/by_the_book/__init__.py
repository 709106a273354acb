"""The same functions as one would write them with Powertools, boto3 and Sentry by their documentation, untuned.

Each makes the same requests for its first answer as ours. They are on Lambda's path as the package `by_the_book`.
"""
