/*
 * bench/relay.c - a TUN device whose packets go through UDP as they are: the kernel's TCP with nothing else to pay for.
 *
 *	relay DEVICE LISTEN-IP:PORT [TO-IP:PORT]
 *
 * Each packet is one datagram with as many bytes more as WireGuard would add, so that a bottleneck sees the same sizes.
 * Without TO it answers to whoever spoke last. No cryptography, no batches: a reference for the kernel's TCP on paths that a
 * slower tunnel would not fill.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define ADDED 32 /* header and tag of a WireGuard data message */
#define SIZE 2048

static void die(const char *what)
{
	fprintf(stderr, "relay: %s: %s\n", what, strerror(errno));
	exit(1);
}

static bool read_address(char *text, struct sockaddr_in *ret)
{
	char *colon = strrchr(text, ':');

	if (!colon)
		return false;
	*colon = '\0';
	*ret = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(colon + 1)) };
	return inet_pton(AF_INET, text, &ret->sin_addr) == 1;
}

static int open_tun(const char *name)
{
	struct ifreq req = { .ifr_flags = IFF_TUN | IFF_NO_PI };
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		die("/dev/net/tun");
	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", name);
	if (ioctl(fd, TUNSETIFF, &req) != 0)
		die(name);
	return fd;
}

static int open_udp(const struct sockaddr_in *at)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), size = 32 << 20;

	if (fd < 0 || bind(fd, (const struct sockaddr *)at, sizeof(*at)) != 0)
		die("socket");
	/* The path's queue is the one that drops. */
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	return fd;
}

/* What was read from one and could not be written to the other is lost, as on any link. */
static void relay(int tun, int udp, struct sockaddr_in *to)
{
	struct pollfd p[] = { { tun, POLLIN, 0 }, { udp, POLLIN, 0 } };
	static uint8_t buf[SIZE];
	ssize_t n;

	for (;;) {
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			die("poll");
		for (int i = 0; i < 64 && (n = read(tun, buf, SIZE - ADDED)) > 0; i++)
			if (to->sin_port)
				sendto(udp, buf, (size_t)n + ADDED, 0, (struct sockaddr *)to, sizeof(*to));
		for (int i = 0; i < 64; i++) {
			socklen_t len = sizeof(*to);

			n = recvfrom(udp, buf, SIZE, 0, (struct sockaddr *)to, &len);
			if (n <= ADDED || write(tun, buf, (size_t)n - ADDED) < 0)
				break;
		}
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_in at, to = { 0 };

	if (argc < 3 || argc > 4 || !read_address(argv[2], &at) || (argc == 4 && !read_address(argv[3], &to))) {
		fprintf(stderr, "usage: relay DEVICE LISTEN-IP:PORT [TO-IP:PORT]\n");
		return 2;
	}
	relay(open_tun(argv[1]), open_udp(&at), &to);
	return 0;
}
