"""`python -m r1lab.doctor`, for where even the command line's own library is missing."""

from r1lab.doctor.doctor import main

main()
