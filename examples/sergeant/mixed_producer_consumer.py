"""What one class produces, another consumes: the results of the one become tasks of the other as they come.

They pass through the program, which hands them on and keeps none; both classes run on whichever workers are free.
"""

from __future__ import annotations

import zmqtasks


class Book(zmqtasks.Worker[list[str]]):
    def run(self, task: zmqtasks.Task) -> list[str]:
        (text,) = task.args
        return text.split("\n")


class Chapter(zmqtasks.Worker[int]):
    def run(self, task: zmqtasks.Task) -> int:
        (text,) = task.args
        return len(text.split())


def main(client: zmqtasks.Client) -> None:
    books = ["Once upon a time\nthey lived happily\never after", "Call me\nIshmael"]
    chapters = (chapter for book in client.map(Book, books) for chapter in book)
    print(sum(client.map(Chapter, chapters)), "words")


if __name__ == "__main__":
    with zmqtasks.Client(workers=1) as client:
        main(client)
