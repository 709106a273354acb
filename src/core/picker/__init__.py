"""The picker: a rotation row's track list, and the walk that warms it before anybody asks (docs/design/picker.md).

It works in threads, not in an event loop: the database driver and the AWS SDK block, a Lambda environment has one
request at a time, and the walk is one thread of its own. A clock that is passed in then makes every wait testable.
"""
