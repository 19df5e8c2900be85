"""A ventilator: it owns jobs, and sends their tasks to nodes until each has ended.

shell         the machine `dispatch` on sessions to nodes
jobs          what is known of a job, and why tasks are ended here
shipping      tasks are encoded and sent, with the objects they need
doubts        who may know of tasks that an earlier life has sent
source        the arguments of one job
repeats       whether a job is given the same large argument again and again
home          what tasks ask is done here, once, and answered
sink_session  the session with a standalone sink
resuming      goes on where an earlier life has ended
afterwards    what is noted once a caller has what it waits for
"""
