"""Whether two expressions are equal: by value, by normal form, by samples."""
