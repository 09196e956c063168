"""`python -m r1lab`, which launchers of several processes start."""

from r1lab.cli.main import main

main()
