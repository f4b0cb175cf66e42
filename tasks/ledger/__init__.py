"""What was asked, answered and paid: tables, keys, asking, budgets."""
