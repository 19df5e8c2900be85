"""A ventilator: it owns jobs, and sends their tasks to nodes until each has ended.

shell         the machine `dispatch` on sessions to nodes
source        the arguments of one job
repeats       whether a job is given the same large argument again and again
home          what tasks ask is done here, once, and answered
sink_session  the session with a standalone sink
resuming      goes on where an earlier life has ended
afterwards    what is noted once a caller has what it waits for
"""
