"""A ventilator and a sink inside a program: what `client`, `aio` and the commands stand on.

launching   the process of an own node, begun before anything else
where       where tasks run and results go
thread      the loop's thread, its peer, ventilator and sink
output      what workers print, on its way to the program
own_node    the node a program starts for itself
registry    which job a call belongs to
reception   which job a result belongs to, and who is told of it
functions   functions as they travel
journalled  results in a journal, before they are handed on
views       the options of calls, and the jobs of functions
submitted   calls submitted one by one, as jobs
futures     what a caller has of such a call
mapping     calls made by `map`
queues      what a program can do about calls that wait
pending     a bound on submitted calls
periodic    a call that is made again and again
results     the iterator that `map` returns
"""
