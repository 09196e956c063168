"""`python -m r1lab`, which launchers of several processes start."""

from r1lab.cli import main

main()
