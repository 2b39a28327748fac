"""YOUR MONEY: deposits, withdrawals and the one book they are posted in."""
