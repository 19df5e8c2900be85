"""What a ventilator remembers beyond its death: the tasks it owes, and how those ended that did.

entries     what is written, and `Journal`, the face of it
blocks      arguments as they are kept, and compared
sqlite      the database
lock        one program at a time
file        all of it: `FileJournal`
"""

from __future__ import annotations

from zmqtasks.journal.entries import Batch, Block, BlockNote, Entry, JobNote, JobState, Journal, Sent, last_words
from zmqtasks.journal.file import FileJournal

__all__ = [
    "Batch",
    "Block",
    "BlockNote",
    "Entry",
    "FileJournal",
    "JobNote",
    "JobState",
    "Journal",
    "Sent",
    "last_words",
]
