/* test/lib/sftp_rig.c - see sftp_rig.h. */
#include "test/lib/sftp_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/endian.h"
#include "test/lib/testing.h"

static const char *find_server(void)
{
	static const char *const paths[] = { "/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server",
					     "/usr/lib/ssh/sftp-server", "/usr/libexec/sftp-server" };

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		if (access(paths[i], X_OK) == 0)
			return paths[i];
	return NULL;
}

static void begin(struct rig *r)
{
	r->now = NSEC_PER_SEC;
	assert_int_equal(sftp_client_init(&r->client, r->now), OK);
	fs_session_init(&r->session, &r->client, &r->out, 0);
	for (int i = 0; i < 1000 && !r->client.ready; i++)
		assert_true(rig_pump(r));
	assert_true(r->client.ready);
}

/* sftp-server in the folder @dir. Return: our end of its standard input and output. */
static int start_server(const char *server, const char *dir, pid_t *ret_pid)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	*ret_pid = fork();
	assert_true(*ret_pid >= 0);
	if (*ret_pid == 0) {
		dup2(fds[1], 0);
		dup2(fds[1], 1);
		if (chdir(dir) != 0)
			_exit(1);
		execl(server, server, (char *)NULL);
		_exit(1);
	}
	close(fds[1]);
	fcntl(fds[0], F_SETFL, O_NONBLOCK);
	return fds[0];
}

bool rig_open(struct rig *r)
{
	const char *server = find_server();

	if (!server)
		return false;
	memset(r, 0, sizeof(*r));
	strcpy(r->dir, "/tmp/nefia-sftp-XXXXXX");
	assert_non_null(mkdtemp(r->dir));
	r->fd = start_server(server, r->dir, &r->pid);
	begin(r);
	return true;
}

struct rig_lane *rig_add_lane(struct rig *r)
{
	struct rig_lane *l = &r->lane[r->lanes.n];

	assert_true(r->lanes.n < ARRAY_SIZE(r->lane));
	l->fd = start_server(find_server(), r->dir, &l->pid);
	assert_int_equal(sftp_client_init(&l->client, r->now), OK);
	r->lanes.v[r->lanes.n++] = &l->client;
	r->session.lanes = &r->lanes;
	for (int i = 0; i < 1000 && !l->client.ready; i++)
		assert_true(rig_pump(r));
	assert_true(l->client.ready);
	return l;
}

void rig_end_lane(struct rig_lane *l)
{
	kill(l->pid, SIGKILL);
	l->held = false;
}

void rig_open_fake(struct rig *r, void (*serve)(void *ctx, struct rig *r), void *ctx)
{
	memset(r, 0, sizeof(*r));
	r->fd = -1;
	r->serve = serve;
	r->ctx = ctx;
	begin(r);
}

static void empty(struct rig_result *res)
{
	ssh_buf_fini(&res->bytes);
	for (size_t i = 0; i < res->n_entries; i++)
		free(res->entries[i].name);
	memset(res, 0, sizeof(*res));
}

void rig_close(struct rig *r)
{
	char cmd[128];

	fs_session_fini(&r->session);
	sftp_client_fini(&r->client);
	for (unsigned i = 0; i < r->lanes.n; i++) {
		sftp_client_fini(&r->lane[i].client);
		close(r->lane[i].fd);
		waitpid(r->lane[i].pid, NULL, 0);
	}
	ssh_buf_fini(&r->out);
	for (size_t i = 0; i < ARRAY_SIZE(r->results); i++)
		empty(&r->results[i]);
	if (r->fd >= 0)
		close(r->fd);
	if (r->pid > 0)
		waitpid(r->pid, NULL, 0);
	if (r->dir[0]) {
		snprintf(cmd, sizeof(cmd), "chmod -R u+rwX %s; rm -rf %s", r->dir, r->dir);
		assert_int_equal(system(cmd), 0);
	}
}

static void take_entry(struct rig_result *res, struct ssh_reader *rd)
{
	struct bytes name = ssh_read_string(rd);

	assert_true(res->n_entries < RIG_ENTRIES_MAX);
	res->entries[res->n_entries].name = strndup((const char *)name.p, name.len);
	ssh_read_attr(rd, &res->entries[res->n_entries].attr);
	res->n_entries++;
}

static void take_frame(struct rig *r, uint8_t type, struct bytes body)
{
	struct ssh_reader rd = { body.p, body.len, false };
	uint32_t id = ssh_read_u32(&rd);
	struct rig_result *res = &r->results[id % ARRAY_SIZE(r->results)];
	struct ssh_reader copy = rd;
	uint64_t offset;

	assert_false(res->done);
	switch (type) {
	case SSH_F_OP_INFO:
		res->has_info = true;
		if (rd.len == SSH_SPACE_BYTES)
			ssh_read_space(&rd, &res->space);
		else
			ssh_read_attr(&rd, &res->attr);
		break;
	case SSH_F_OP_ENTRY:
		take_entry(res, &rd);
		break;
	case SSH_F_OP_BYTES:
		offset = ssh_read_u64(&copy);
		if (ssh_buf_used(&res->bytes) == 0)
			res->first_offset = offset;
		assert_true(offset == res->first_offset + ssh_buf_used(&res->bytes));
		assert_int_equal(ssh_buf_add(&res->bytes, copy.p, copy.len), OK);
		rd = (struct ssh_reader){ 0 };
		break;
	case SSH_F_OP_MORE:
		res->credit += ssh_read_u32(&rd);
		break;
	default:
		assert_int_equal(type, SSH_F_OP_DONE);
		res->done = true;
		res->error = (enum err)ssh_read_u32(&rd);
		ssh_read_text(&rd, res->message, sizeof(res->message));
	}
	assert_false(rd.bad);
	assert_int_equal(rd.len, 0);
}

static void move_channel(struct sftp_client *c, int fd, uint64_t *n_sent)
{
	uint8_t *to = ssh_buf_room(&c->in, 65536);
	ssize_t n;

	if (ssh_buf_used(&c->out) > 0) {
		n = send(fd, c->out.p + c->out.off, ssh_buf_used(&c->out), MSG_NOSIGNAL);
		if (n > 0) {
			ssh_buf_drop(&c->out, (size_t)n);
			*n_sent += (uint64_t)n;
		}
	}
	assert_non_null(to);
	n = read(fd, to, 65536);
	if (n > 0)
		c->in.len += (size_t)n;
	else if (n == 0 || errno != EAGAIN)
		sftp_client_fail(c, ERR_RESET, "the server ended");
}

static struct pollfd events(const struct sftp_client *c, int fd, bool held)
{
	return (struct pollfd){ held || c->error != OK ? -1 : fd, (short)(POLLIN | (ssh_buf_used(&c->out) ? POLLOUT : 0)), 0 };
}

static bool is_ready(int fd)
{
	return poll(&(struct pollfd){ fd, POLLIN, 0 }, 1, 5000) == 1;
}

/* One request, and its whole answer. */
static bool move_one(struct rig *r)
{
	struct sftp_client *c = &r->client;
	uint8_t *p = c->out.p + c->out.off, *to;
	size_t len = 4 + get_be32(p), want = 4, got = 0;
	ssize_t n;

	r->before(r->ctx, p[4]);
	assert_true(ssh_buf_used(&c->out) >= len);
	assert_int_equal(send(r->fd, p, len, MSG_NOSIGNAL), len);
	ssh_buf_drop(&c->out, len);
	for (; got < want && is_ready(r->fd); got += (size_t)n) {
		to = ssh_buf_room(&c->in, want - got);
		assert_non_null(to);
		n = read(r->fd, to, want - got);
		assert_true(n > 0);
		c->in.len += (size_t)n;
		if (got + (size_t)n == 4)
			want += get_be32(to + n - 4);
	}
	return got == want;
}

static bool move_bytes(struct rig *r)
{
	if (r->before && ssh_buf_used(&r->client.out) > 0)
		return move_one(r);

	struct pollfd pf[FS_LANES_MAX] = { events(&r->client, r->fd, r->held) };
	uint64_t n_sent = 0;

	for (unsigned i = 0; i < r->lanes.n; i++)
		pf[1 + i] = events(&r->lane[i].client, r->lane[i].fd, r->lane[i].held);
	/* What is said already needs no server. */
	if (poll(pf, 1 + r->lanes.n, ssh_buf_used(&r->out) ? 0 : 5000) <= 0)
		return ssh_buf_used(&r->out) > 0;
	if (pf[0].revents)
		move_channel(&r->client, r->fd, &n_sent);
	for (unsigned i = 0; i < r->lanes.n; i++)
		if (pf[1 + i].revents)
			move_channel(&r->lane[i].client, r->lane[i].fd, &r->lane[i].n_sent);
	return true;
}

bool rig_pump(struct rig *r)
{
	struct bytes body;
	size_t total;
	uint8_t type;
	bool ok = true;

	r->now += NSEC_PER_MSEC;
	if (r->serve)
		r->serve(r->ctx, r);
	else
		ok = move_bytes(r);
	sftp_client_input(&r->client, r->now);
	for (unsigned i = 0; i < r->lanes.n; i++)
		sftp_client_input(&r->lane[i].client, r->now);
	fs_session_step(&r->session, r->now);
	while (ssh_frame_next(&r->out, &type, &body, &total) == OK) {
		take_frame(r, type, body);
		ssh_buf_drop(&r->out, total);
	}
	return ok;
}

static void frame(struct rig *r, uint8_t type, struct ssh_buf *b)
{
	assert_int_equal(fs_session_frame(&r->session, r->now, type, (struct bytes){ b->p, ssh_buf_used(b) }), OK);
	ssh_buf_fini(b);
}

void rig_op(struct rig *r, uint32_t id, enum ssh_op kind, const char *path, struct ssh_buf *fields)
{
	struct ssh_buf b = { 0 };
	uint8_t k = (uint8_t)kind;

	empty(&r->results[id % ARRAY_SIZE(r->results)]);
	assert_int_equal(ssh_put_u32(&b, id), OK);
	assert_int_equal(ssh_buf_add(&b, &k, 1), OK);
	assert_int_equal(ssh_put_string(&b, path, strlen(path)), OK);
	if (fields) {
		assert_int_equal(ssh_buf_add(&b, fields->p, ssh_buf_used(fields)), OK);
		ssh_buf_fini(fields);
	}
	frame(r, SSH_F_OP, &b);
}

struct rig_result *rig_wait(struct rig *r, uint32_t id)
{
	struct rig_result *res = &r->results[id % ARRAY_SIZE(r->results)];

	for (int i = 0; i < 1000000 && !res->done; i++)
		if (!rig_pump(r))
			fail_msg("operation %u does not end", id);
	assert_true(res->done);
	return res;
}

void rig_put(struct rig *r, uint32_t id, const char *path, uint32_t mode, uint32_t flags, uint64_t source, uint32_t mtime)
{
	struct ssh_buf f = { 0 };

	assert_int_equal(ssh_put_u32(&f, mode), OK);
	assert_int_equal(ssh_put_u32(&f, flags), OK);
	assert_int_equal(ssh_put_u64(&f, source), OK);
	assert_int_equal(ssh_put_u32(&f, mtime), OK);
	assert_int_equal(ssh_put_u32(&f, mtime), OK);
	rig_op(r, id, SSH_OP_PUT, path, &f);
	r->results[id % ARRAY_SIZE(r->results)].credit = SSH_PUT_CREDIT;
}

void rig_data(struct rig *r, uint32_t id, uint64_t offset, const void *p, size_t len)
{
	struct ssh_buf b = { 0 };

	assert_int_equal(ssh_put_u32(&b, id), OK);
	assert_int_equal(ssh_put_u64(&b, offset), OK);
	assert_int_equal(ssh_buf_add(&b, p, len), OK);
	frame(r, SSH_F_OP_DATA, &b);
}

void rig_eof(struct rig *r, uint32_t id, uint64_t size)
{
	struct ssh_buf b = { 0 };

	assert_int_equal(ssh_put_u32(&b, id), OK);
	assert_int_equal(ssh_put_u64(&b, size), OK);
	frame(r, SSH_F_OP_EOF, &b);
}

void rig_get(struct rig *r, uint32_t id, const char *path, uint64_t offset, uint64_t length)
{
	struct ssh_buf f = { 0 };

	assert_int_equal(ssh_put_u64(&f, offset), OK);
	assert_int_equal(ssh_put_u64(&f, length), OK);
	rig_op(r, id, SSH_OP_GET, path, &f);
}

struct rig_result *rig_put_whole(struct rig *r, uint32_t id, const char *path, const void *p, size_t len)
{
	struct rig_result *res = &r->results[id % ARRAY_SIZE(r->results)];

	rig_put(r, id, path, 0644, 0, 0, 0);
	for (size_t at = 0; at < len && !res->done;) {
		size_t n = (size_t)MIN(MIN(res->credit, (uint64_t)100000), (uint64_t)(len - at));

		if (n == 0) {
			assert_true(rig_pump(r));
			continue;
		}
		rig_data(r, id, at, (const char *)p + at, n);
		res->credit -= n;
		at += n;
	}
	if (!res->done)
		rig_eof(r, id, len);
	return rig_wait(r, id);
}

bool rig_has_entry(const struct rig_result *res, const char *name)
{
	for (size_t i = 0; i < res->n_entries; i++)
		if (strcmp(res->entries[i].name, name) == 0)
			return true;
	return false;
}
