"""The table of searches that people keep for themselves."""

from typing import ClassVar

from django.db import models

LABEL_LENGTH_MAX, QUERY_LENGTH_MAX = 40, 1000


class SavedSearch(models.Model):
    """One search of one person on one page of the console, under a name of the person's own."""

    user = models.ForeignKey("accounts.User", on_delete=models.CASCADE, related_name="+")
    page = models.CharField(max_length=32)
    label = models.CharField(max_length=LABEL_LENGTH_MAX)
    query = models.CharField(max_length=QUERY_LENGTH_MAX, help_text="as it stands in the address")
    saved_at = models.DateTimeField()

    class Meta:
        db_table = "saved_search"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["user", "page", "label"], name="saved_search_one_a_label"),
        ]

    def __str__(self) -> str:
        return f"{self.label} on {self.page}"
