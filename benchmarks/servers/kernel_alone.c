/* What the kernel takes for a request, and no server can save: kernel_alone PORT BYTES
 *
 * One epoll loop that receives what is there and sends an answer with a body of so many bytes, the same each time. It
 * parses nothing: what one recv brings counts as one request, as wrk, which waits for each answer, sends it.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 8192, EVENTS = 512, LARGEST_REQUEST = 65536 };

static int fail(const char *what)
{
    perror(what);
    return 1;
}

static int watch(int poller, int descriptor)
{
    struct epoll_event event = {.events = EPOLLIN, .data = {.fd = descriptor}};
    return epoll_ctl(poller, EPOLL_CTL_ADD, descriptor, &event);
}

static int listening(unsigned short port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int on = 1, descriptor = socket(AF_INET, SOCK_STREAM, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (descriptor < 0 || setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0)
        return -1;
    if (bind(descriptor, (struct sockaddr *)&address, sizeof address) < 0 || listen(descriptor, BACKLOG) < 0)
        return -1;
    return descriptor;
}

static char *answer_of(size_t body, size_t *length)
{
    char head[128];
    int size = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", body);
    char *answer = malloc((size_t)size + body);
    if (answer == NULL)
        return NULL;
    memcpy(answer, head, (size_t)size);
    memset(answer + size, 'x', body);
    *length = (size_t)size + body;
    return answer;
}

int main(int argc, char **argv)
{
    static char request[LARGEST_REQUEST];
    struct epoll_event events[EVENTS];
    size_t length = 0;
    if (argc != 3)
        return fprintf(stderr, "usage: kernel_alone PORT BYTES\n"), 2;
    int listener = listening((unsigned short)atoi(argv[1])), poller = epoll_create1(0), on = 1;
    char *answer = answer_of((size_t)atol(argv[2]), &length);
    if (listener < 0 || poller < 0 || answer == NULL || watch(poller, listener) < 0)
        return fail("kernel_alone");
    for (;;) {
        int ready = epoll_wait(poller, events, EVENTS, -1);
        for (int index = 0; index < ready; index++) {
            int descriptor = events[index].data.fd;
            if (descriptor == listener) {
                int accepted = accept(listener, NULL, NULL);
                if (accepted < 0 || watch(poller, accepted) < 0)
                    return fail("accept");
                setsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            } else if (recv(descriptor, request, sizeof request, 0) <= 0 ||
                       send(descriptor, answer, length, MSG_NOSIGNAL) != (ssize_t)length) {
                close(descriptor);
            }
        }
    }
}
