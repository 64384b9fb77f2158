"""Whether a release on trial is as good as it should be: signals in, verdict out.

sequential.py, judge.py and committed.py touch no clock, disk or socket. canary.py asks the model as an app would, and
checks.py and process.py run the health checks of the device's owner.
"""
