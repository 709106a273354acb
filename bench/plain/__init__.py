"""What our functions' cold starts are compared with: handlers that only import what its dependencies need, and answer.

None of our code is in them. Each imports and makes what the function of its name cannot do without, sets Sentry up with
the same options, and makes the same requests for its first answer. They are on Lambda's path as the package `plain`.
"""
