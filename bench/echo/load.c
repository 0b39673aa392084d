/* The client of the echo measurements: CONNECTIONS sockets, each with DEPTH messages of SIZE bytes under way, for MS milliseconds.
 *
 *     load tcp|framed|udp PORT CONNECTIONS DEPTH SIZE MS
 *     load churn PORT CONNECTS 0 SIZE MS    connects, one echo, disconnects, one after the other; CONNECTS is ignored
 *     load hold PORT CONNECTIONS 0 0 MS     connects, then does nothing
 *
 * Prints the messages that came back and the seconds it took; for hold, "held" as soon as all are connected.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static int dial(int port, int is_udp, int number) {
    int fd = socket(AF_INET, is_udp ? SOCK_DGRAM : SOCK_STREAM, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (!is_udp) {
        /* More than one source, so that no range of ports is used up. */
        struct sockaddr_in source = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000002 + number % 200)};
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        bind(fd, (struct sockaddr *)&source, sizeof source);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    }
    if (connect(fd, (struct sockaddr *)&address, sizeof address)) {
        perror("connect");
        exit(1);
    }
    return fd;
}

static void churn(int port, int size, double seconds) {
    char buffer[4096] = {0};
    long done = 0;
    double start = now();
    for (; now() - start < seconds; done++) {
        int fd = dial(port, 0, done);
        if (size && (send(fd, buffer, size, MSG_NOSIGNAL) != size || recv(fd, buffer, size, MSG_WAITALL) != size)) exit(1);
        /* No TIME_WAIT is left behind: the ports would not last. */
        struct linger reset = {.l_onoff = 1};
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        close(fd);
    }
    printf("%ld %f\n", done, now() - start);
}

int main(int argc, char **argv) {
    if (argc != 7) return 2;
    const char *kind = argv[1];
    int port = atoi(argv[2]), connections = atoi(argv[3]), depth = atoi(argv[4]), size = atoi(argv[5]);
    double seconds = atoi(argv[6]) / 1e3;
    int is_udp = !strcmp(kind, "udp"), is_framed = !strcmp(kind, "framed");
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (!strcmp(kind, "churn")) {
        churn(port, size, seconds);
        return 0;
    }
    int *fds = calloc(connections, sizeof *fds);
    for (int i = 0; i < connections; i++) fds[i] = dial(port, is_udp, i);
    if (!strcmp(kind, "hold")) {
        printf("held\n");
        fflush(stdout);
        usleep(seconds * 1e6);
        return 0;
    }
    static char message[65536], buffer[1 << 20];
    int whole = size + (is_framed ? 4 : 0), epoll = epoll_create1(0);
    for (int i = 0; i < (is_udp ? 1 : depth); i++)
        if (is_framed) memcpy(message + i * whole, &size, 4);
    int *pending = calloc(connections, sizeof *pending);
    for (int i = 0; i < connections; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        epoll_ctl(epoll, EPOLL_CTL_ADD, fds[i], &event);
    }
    double start = now(), end = start + seconds;
    for (int i = 0; i < connections; i++) {
        if (is_udp) for (int d = 0; d < depth; d++) send(fds[i], message, size, 0);
        else if (send(fds[i], message, (size_t)whole * depth, 0) < 0) return 1;
    }
    long answers = 0;
    struct epoll_event events[256];
    struct mmsghdr batch[64];
    struct iovec vectors[64];
    static char rooms[64][2048];
    for (int i = 0; i < 64; i++) {
        vectors[i] = (struct iovec){rooms[i], 2048};
        batch[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
    }
    while (now() < end) {
        int count = epoll_wait(epoll, events, 256, 200);
        for (int e = 0; e < count; e++) {
            int i = events[e].data.u32;
            if (is_udp) {
                for (int b = 0; b < 64; b++) vectors[b].iov_len = 2048;
                int got = recvmmsg(fds[i], batch, depth < 64 ? depth : 64, MSG_DONTWAIT, NULL);
                if (got <= 0) continue;
                for (int b = 0; b < got; b++) vectors[b].iov_len = batch[b].msg_len;
                sendmmsg(fds[i], batch, got, 0);
                answers += got;
            } else {
                ssize_t got = recv(fds[i], buffer, sizeof buffer, MSG_DONTWAIT);
                if (got <= 0) {
                    if (got < 0 && errno == EAGAIN) continue;
                    fprintf(stderr, "the server closed a connection\n");
                    return 1;
                }
                int whole_ones = (pending[i] + got) / whole;
                pending[i] = (pending[i] + got) % whole;
                answers += whole_ones;
                if (whole_ones && send(fds[i], message, (size_t)whole * whole_ones, 0) < 0) return 1;
            }
        }
        if (!count && is_udp)
            /* A datagram was lost: all begin again. */
            for (int i = 0; i < connections; i++) for (int d = 0; d < depth; d++) send(fds[i], message, size, 0);
    }
    printf("%ld %f\n", answers, now() - start);
    return 0;
}
