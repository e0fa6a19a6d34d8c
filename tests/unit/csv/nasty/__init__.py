"""The corpus: every kind of messy file. Importing it loads all kinds."""

from tests.unit.csv.nasty import damaged, everyday, exports, hard, logs, machines
from tests.unit.csv.nasty.case import MAKERS, corpus

__all__ = ["MAKERS", "corpus", "damaged", "everyday", "exports", "hard", "logs", "machines"]
