import zmqtasks


def count_primes(limit: int) -> int:
    return sum(all(n % d for d in range(2, int(n**0.5) + 1)) for n in range(2, limit))


with zmqtasks.Client() as client:  # starts a node here, with a worker a core; ends it on exit
    print(client.submit(pow, 2, 100).result())
    for count in client.map(count_primes, range(0, 10_000, 1_000)):  # in order, as they come
        print(count)
    try:
        client.options(timeout=0.5).submit(count_primes, 10**9).result()
    except zmqtasks.TaskTimeout as error:
        print("gave up:", error)
