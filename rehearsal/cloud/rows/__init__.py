"""The rows of the table, by what they are for; `rehearsal.cloud.table` joins them."""
