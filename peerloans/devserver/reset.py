"""Delete the embedded database and Redis of this checkout, with all their data. This is what `make reset` runs."""

from peerloans.devserver import embedded


def main() -> None:
    embedded.delete_data()
    print("The database and Redis of this checkout are deleted. `make run` makes new ones.")  # noqa: T201


if __name__ == "__main__":
    main()
