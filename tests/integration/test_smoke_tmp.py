
from tests.integration.accounts import SCHEDULED
pytest_plugins=("tests.integration.fixtures",)
def test_x(book, told):
    print(book.start(SCHEDULED))
    print(len(book.waiting()))
    print(book.deliver_all())
    print(book.run())
    book.assert_balanced(); book.assert_world()
    print(told())
