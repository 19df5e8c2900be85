"""A node: it holds tasks, has them run by worker processes, and sends what comes of them to sinks.

shell         the machines `holding` and `slots` on worker processes and sessions
workers       worker processes, as the shell sees them
deaths        what the end of a worker means for its task
ways          which way outcomes take, to all sinks
routes        the way to one sink
overseer      looks at workers whose tasks have limits, and kills them
memory_watch  the watch over the memory of the node
live_output   what workers print, on its way to clients
objects       what clients have put on the node
porter        what tasks ask of their ventilator, and the answers
departure     the timer of a node that leaves
counting      what the node has done
crosscheck    what the node believes of its workers, against what they show
"""
