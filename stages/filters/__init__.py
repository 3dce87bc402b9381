"""Filters: one file a rule. A filter labels candidates, it never deletes one."""
