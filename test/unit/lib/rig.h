/* test/unit/lib/rig.h - two Nefia folders on loopback, each the other's host, for tests that see nefia.h alone. */
#ifndef TEST_UNIT_LIB_RIG_H
#define TEST_UNIT_LIB_RIG_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <setjmp.h>
#include <cmocka.h>
#include <sodium.h>

#include "lib/nefia.h"
#include "test/lib/calm.h"

#define ALICE 0
#define BOB 1

static char rig_folder[64];
static struct {
	char home[2][80];
	unsigned port[2];
} rig;
static char rig_config[2][96];

static unsigned free_udp_port(void)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&sa, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	close(fd);
	return ntohs(sa.sin_port);
}

static void write_config(int who, char secret[2][64], char public[2][64])
{
	int other = !who;
	FILE *f = fopen(rig_config[who], "w");

	assert_non_null(f);
	fprintf(f,
		"version: 1\nvpn:\n  private_key: %s\n  address: 10.99.0.%d/24\n  listen_port: %u\nhosts:\n"
		"  - id: %s\n    vpn:\n      addr: 10.99.0.%d\n      public_key: %s\n      endpoint: 127.0.0.1:%u\n"
		"  - id: nowhere\n    vpn:\n      addr: 10.99.0.9\n      public_key: 3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=\n"
		"      endpoint: 127.0.0.1:9\n",
		secret[who], who + 1, rig.port[who], other == ALICE ? "alice" : "bob", other + 1, public[other], rig.port[other]);
	fchmod(fileno(f), 0600);
	fclose(f);
}

static void rig_make(void)
{
	char secret[2][64], public[2][64];

	assert_true(sodium_init() >= 0);
	strcpy(rig_folder, "/tmp/nefia-lib.XXXXXX");
	assert_non_null(mkdtemp(rig_folder));
	for (int i = 0; i < 2; i++) {
		unsigned char k[32], p[32];

		crypto_box_keypair(p, k);
		sodium_bin2base64(secret[i], 64, k, 32, sodium_base64_VARIANT_ORIGINAL);
		sodium_bin2base64(public[i], 64, p, 32, sodium_base64_VARIANT_ORIGINAL);
		rig.port[i] = free_udp_port();
		snprintf(rig.home[i], sizeof(rig.home[i]), "%s/%d", rig_folder, i);
		snprintf(rig_config[i], sizeof(rig_config[i]), "%s/nefia.yaml", rig.home[i]);
		assert_int_equal(mkdir(rig.home[i], 0700), 0);
	}
	write_config(ALICE, secret, public);
	write_config(BOB, secret, public);
}

static void rig_remove(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", rig_folder);
	assert_int_equal(system(command), 0);
}

static struct nefia *rig_open(int who)
{
	struct nefia_options opt = NEFIA_OPTIONS_INIT;
	struct nefia *n = NULL;
	int r;

	opt.config = rig_config[who];
	opt.home = rig.home[who];
	r = nefia_open(&opt, &n);
	if (r != NEFIA_OK)
		fail_msg("nefia_open: %s: %s", nefia_strerror(r), nefia_error_detail());
	return n;
}

/* ---- a server that sends back what comes ---- */

struct echo {
	struct nefia *n;
	struct nefia_listener *l;
	pthread_t thread;
};

static void *echo_one(void *arg)
{
	struct nefia_stream *s = arg;
	char *buf = malloc(65536);
	ssize_t n;

	while ((n = nefia_read(s, buf, 65536, NEFIA_FOREVER)) > 0)
		if (nefia_write(s, buf, (size_t)n, NEFIA_FOREVER) != n)
			break;
	free(buf);
	nefia_stream_close(s);
	return NULL;
}

static void *echo_all(void *arg)
{
	struct echo *e = arg;
	struct nefia_stream *s;
	pthread_attr_t attr;
	pthread_t t;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	while (nefia_accept(e->l, NEFIA_FOREVER, &s) == NEFIA_OK)
		if (pthread_create(&t, &attr, echo_one, s) != 0)
			nefia_stream_close(s);
	pthread_attr_destroy(&attr);
	return NULL;
}

static void echo_start(struct echo *e, struct nefia *n, unsigned port)
{
	int r;

	e->n = n;
	r = nefia_listen(n, port, 0, 5000, &e->l);
	if (r != NEFIA_OK)
		fail_msg("nefia_listen: %s: %s", nefia_strerror(r), nefia_error_detail());
	assert_int_equal(pthread_create(&e->thread, NULL, echo_all, e), 0);
}

/* With its tunnel, whose end wakes it. */
static void echo_stop(struct echo *e)
{
	nefia_close(e->n);
	pthread_join(e->thread, NULL);
	nefia_listener_close(e->l);
}

static inline struct nefia_stream *must_dial(struct nefia *n, const char *host, unsigned port)
{
	struct nefia_stream *s = NULL;
	int r = nefia_dial(n, host, port, 30000, &s);

	if (r != NEFIA_OK)
		fail_msg("nefia_dial: %s: %s", nefia_strerror(r), nefia_error_detail());
	return s;
}

static inline uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static unsigned count_in(const char *path)
{
	DIR *d = opendir(path);
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

#endif
