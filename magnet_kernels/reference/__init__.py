"""The operators in plain torch: the specification that every other backend is tested against."""
