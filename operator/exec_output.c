/*
 * operator/exec_output.c - what `nefia exec` prints.
 *
 *	one host        bytes as they come
 *	several         whole lines behind the host's name; a line without an end is cut at LINE_MAX
 *	--ordered       the same, but a host waits for its turn; beyond HELD_MAX its session is not read meanwhile
 *	--json          an object a host when it ends; what is beyond OUTPUT_MAX is left out, and that is said
 *	--output-dir    bytes as they come, into files
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>
#include <sodium.h>

#include "operator/exec.h"
#include "operator/json_text.h"
#include "os/file.h"

#define LINE_MAX_BYTES (256u << 10)
#define HELD_MAX (4u << 20)
#define OUTPUT_MAX (16u << 20)

static const char *const stream_names[2] = { "stdout", "stderr" };

/* ---- files ---- */

int exec_output_open(struct exec *x)
{
	enum err e = x->output_dir ? os_mkdir_p(x->output_dir, 0777) : OK;

	if (e != OK)
		return cli_error(x->cli, 1041, "%s: %s", x->output_dir, err_text(e)), EXEC_STATUS_OUR_FAILURE;
	for (size_t i = 0; i < x->n_hosts; i++) {
		struct exec_host *h = &x->hosts[i];

		for (int k = 0; k < 2; k++) {
			char path[PATH_MAX];

			h->streams[k].file = -1;
			if (!x->output_dir)
				continue;
			snprintf(path, sizeof(path), "%s/%s.%s", x->output_dir, h->host->id, stream_names[k]);
			h->streams[k].file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
			if (h->streams[k].file < 0)
				return cli_error(x->cli, 1041, "%s: %s", path, strerror(errno)), EXEC_STATUS_OUR_FAILURE;
		}
	}
	return 0;
}

/* ---- bytes and lines ---- */

/*
 * Blocks as long as our reader does, but not against Ctrl-C: a signal ends the write that blocks, and from then on only what
 * goes at once is written.
 */
static ssize_t out_some(int fd, const char *p, size_t len)
{
	struct pollfd pf = { fd, POLLOUT, 0 };
	ssize_t n;

	if (!exec_interrupted_by()) {
		n = write(fd, p, len);
		if (n < 0 && errno == EAGAIN)
			poll(&pf, 1, -1);
		return n < 0 && (errno == EINTR || errno == EAGAIN) ? 0 : n;
	}
	if (poll(&pf, 1, 0) == 1)
		return write(fd, p, MIN(len, (size_t)PIPE_BUF));
	errno = EAGAIN;
	return -1;
}

static bool out(struct exec *x, int fd, const void *buf, size_t len)
{
	const char *p = buf;

	while (len > 0) {
		ssize_t n = out_some(fd, p, len);

		if (n < 0) {
			if (x->output_error == OK)
				x->output_error = errno == EPIPE ? ERR_CLOSED : err_from_errno(errno);
			return false;
		}
		p += n;
		len -= (size_t)n;
	}
	return true;
}

/* One of six colours by the host's place, so that neighbours differ. */
static int head_of(const struct exec_host *h, int stream, char *ret, size_t size)
{
	const struct exec *x = h->x;
	unsigned colour = 31 + (unsigned)(h - x->hosts) % 6;

	if (x->cli->colour && isatty(1 + stream))
		return snprintf(ret, size, "\033[%um%*s\033[0m %s ", colour, x->id_width, h->host->id, stream ? "!" : "|");
	return snprintf(ret, size, "%s: ", h->host->id);
}

static bool out_line(struct exec_host *h, int stream, const uint8_t *p, size_t len, bool ended)
{
	char head[HOST_ID_MAX + 32];
	int n = head_of(h, stream, head, sizeof(head));

	return out(h->x, 1 + stream, head, (size_t)n) && out(h->x, 1 + stream, p, len) &&
	       (ended || out(h->x, 1 + stream, "\n", 1));
}

/* The lines that are whole; with @all the rest too. */
static bool flush_lines(struct exec_host *h, int stream, bool all)
{
	struct ssh_buf *b = &h->streams[stream].kept;

	while (ssh_buf_used(b) > 0) {
		const uint8_t *p = b->p + b->off, *nl = memchr(p, '\n', ssh_buf_used(b));
		size_t len = nl ? (size_t)(nl - p) + 1 : ssh_buf_used(b);

		if (!nl && !all && len < LINE_MAX_BYTES)
			break;
		if (!out_line(h, stream, p, len, nl != NULL))
			return false;
		ssh_buf_drop(b, len);
	}
	return true;
}

static bool has_turn(const struct exec_host *h)
{
	return !h->x->ordered || h == &h->x->hosts[h->x->turn];
}

bool exec_output_held(const struct exec_host *h)
{
	return h->x->ordered && !h->x->cli->json && !has_turn(h) &&
	       ssh_buf_used(&h->streams[0].kept) + ssh_buf_used(&h->streams[1].kept) >= HELD_MAX;
}

static bool keep_json(struct exec_stream *st, struct bytes data)
{
	size_t room = OUTPUT_MAX - MIN(ssh_buf_used(&st->kept), (size_t)OUTPUT_MAX);

	st->truncated |= data.len > room;
	return ssh_buf_add(&st->kept, data.p, MIN(data.len, room)) == OK;
}

bool exec_output_data(void *ctx, enum ssh_frame type, struct bytes data)
{
	struct exec_host *h = ctx;
	int stream = type == SSH_F_STDERR;
	struct exec_stream *st = &h->streams[stream];

	if (st->file >= 0)
		return out(h->x, st->file, data.p, data.len);
	if (h->x->cli->json)
		return keep_json(st, data);
	if (h->x->n_hosts == 1)
		return out(h->x, 1 + stream, data.p, data.len);
	if (ssh_buf_add(&st->kept, data.p, data.len) != OK)
		return false;
	return !has_turn(h) || flush_lines(h, stream, false);
}

/* ---- how it ended ---- */

static int signal_number(const char *name)
{
	for (int i = 1; i < NSIG; i++) {
		const char *abbrev = sigabbrev_np(i);

		if (abbrev && strcmp(abbrev, name) == 0)
			return i;
	}
	return 0;
}

int exec_host_status(const struct exec_host *h)
{
	int number;

	if (h->timed_out)
		return EXEC_STATUS_TIME_LIMIT;
	if (h->cancelled)
		return EXEC_STATUS_SIGNAL + exec_interrupted_by();
	if (h->s.exit_signal[0]) {
		number = signal_number(h->s.exit_signal);
		return number ? EXEC_STATUS_SIGNAL + number : EXEC_STATUS_OUR_FAILURE;
	}
	if (h->s.error != OK || h->s.exit_status < 0)
		return EXEC_STATUS_OUR_FAILURE;
	return h->s.exit_status;
}

int exec_exit_code(const struct exec_host *h)
{
	int status = exec_host_status(h);

	return status > 255 ? EXEC_STATUS_OUR_FAILURE : status;
}

static const char *error_of(const struct exec_host *h)
{
	return h->timed_out ? "time limit reached" : h->cancelled ? "interrupted" : h->s.message;
}

/* Of text that was cut off: without the beginning of its last character, which would make all of it no text. */
static size_t whole_characters(const uint8_t *p, size_t len)
{
	size_t n = 0, more;

	while (n < 3 && n + 1 < len && (p[len - 1 - n] & 0xc0) == 0x80)
		n++;
	if (len == 0 || p[len - 1 - n] < 0xc0)
		return len;
	more = p[len - 1 - n] >= 0xf0 ? 3 : p[len - 1 - n] >= 0xe0 ? 2 : 1;
	return n < more ? len - 1 - n : len;
}

/* Text as it is when it is UTF-8, else base64 under NAME_b64. */
static void add_output(json_t *j, const char *name, const struct exec_stream *st)
{
	const uint8_t *p = st->kept.p ? st->kept.p + st->kept.off : (const uint8_t *)"";
	size_t len = ssh_buf_used(&st->kept), size = sodium_base64_ENCODED_LEN(len, sodium_base64_VARIANT_ORIGINAL);
	json_t *s = json_stringn((const char *)p, st->truncated ? whole_characters(p, len) : len);
	char key[32], *b64;

	snprintf(key, sizeof(key), "%s_truncated", name);
	if (st->truncated)
		json_object_set_new(j, key, json_true());
	if (s) {
		json_object_set_new(j, name, s);
		return;
	}
	b64 = malloc(size);
	snprintf(key, sizeof(key), "%s_b64", name);
	if (b64)
		json_object_set_new(j, key,
				    json_string(sodium_bin2base64(b64, size, p, len, sodium_base64_VARIANT_ORIGINAL)));
	free(b64);
}

/* In the table of errors; 0 = the command ran to its end. */
static unsigned ecode_of(const struct exec_host *h)
{
	if (h->timed_out)
		return 1035;
	if (h->s.error == OK || h->cancelled)
		return 0;
	return h->ecode ? h->ecode : session_ecode(&h->s);
}

static void print_json(struct exec_host *h)
{
	json_t *j = json_pack("{s:s, s:i, s:s, s:I}", "host", h->host->id, "exit", exec_host_status(h), "error", error_of(h),
			      "ms", (json_int_t)((h->ended - h->first_try) / NSEC_PER_MSEC));
	char *text, code[16];

	for (int k = 0; k < 2 && h->streams[k].file < 0; k++)
		add_output(j, stream_names[k], &h->streams[k]);
	if (h->s.exit_signal[0])
		json_object_set_new(j, "signal", json_string(h->s.exit_signal));
	if (ecode_of(h)) {
		snprintf(code, sizeof(code), "E%u", ecode_of(h));
		json_object_set_new(j, "code", json_string(code));
	}
	text = json_text(j, JSON_COMPACT);
	if (text && out(h->x, STDOUT_FILENO, text, strlen(text)))
		out(h->x, STDOUT_FILENO, "\n", 1);
	free(text);
	json_decref(j);
}

static void print_end(struct exec_host *h)
{
	struct exec *x = h->x;

	if (ecode_of(h) && x->output_error == OK)
		cli_error(x->cli, ecode_of(h), "%s: %s", h->host->id,
			  h->timed_out ? "the command did not end in time" : h->s.message);
	else if (h->s.exit_signal[0] && !x->interrupted)
		fprintf(stderr, "nefia: %s: the command was ended by signal %s\n", h->host->id, h->s.exit_signal);
	else if (x->n_hosts > 1 && h->s.exit_status > 0)
		fprintf(stderr, "nefia: %s: exit status %d\n", h->host->id, h->s.exit_status);
}

static void print_one(struct exec_host *h)
{
	if (h->x->cli->json) {
		print_json(h);
		return;
	}
	if (h->x->n_hosts > 1 && flush_lines(h, 0, true))
		flush_lines(h, 1, true);
	print_end(h);
}

static void close_streams(struct exec_host *h)
{
	for (int k = 0; k < 2; k++) {
		struct exec_stream *st = &h->streams[k];

		if (st->file >= 0 && close(st->file) != 0 && h->x->output_error == OK)
			h->x->output_error = err_from_errno(errno);
		st->file = -1;
		ssh_buf_fini(&st->kept);
	}
}

void exec_output_done(struct exec_host *h)
{
	struct exec *x = h->x;

	if (!x->ordered) {
		print_one(h);
		close_streams(h);
		return;
	}
	/* The next may have ended long ago, or print from now on. */
	while (x->turn < x->n_hosts && x->hosts[x->turn].state == EXEC_DONE) {
		print_one(&x->hosts[x->turn]);
		close_streams(&x->hosts[x->turn]);
		x->turn++;
	}
	if (x->turn < x->n_hosts && !x->cli->json && flush_lines(&x->hosts[x->turn], 0, false))
		flush_lines(&x->hosts[x->turn], 1, false);
}

/* ---- the summary ---- */

static const char *kind_of(const struct exec_host *h)
{
	if (h->timed_out)
		return "reached the time limit";
	if (h->cancelled)
		return "interrupted";
	if (h->s.error != OK)
		return "could not be reached";
	return exec_host_status(h) ? "failed" : NULL;
}

void exec_output_summary(const struct exec *x)
{
	static const char *const kinds[] = { "failed", "reached the time limit", "could not be reached", "interrupted" };
	size_t n_ok = 0;

	if (x->n_hosts == 1 || x->cli->json || x->output_error != OK)
		return;
	for (size_t i = 0; i < x->n_hosts; i++)
		n_ok += !kind_of(&x->hosts[i]);
	fprintf(stderr, "nefia: %zu hosts, %zu succeeded", x->n_hosts, n_ok);
	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
		const char *lead = NULL;

		for (size_t i = 0; i < x->n_hosts; i++) {
			const char *kind = kind_of(&x->hosts[i]);

			if (!kind || strcmp(kind, kinds[k]) != 0)
				continue;
			fprintf(stderr, "%s%s%s", lead ? ", " : "; ", lead ? "" : kinds[k], lead ? "" : ": ");
			lead = x->hosts[i].host->id;
			fprintf(stderr, "%s", lead);
		}
	}
	fprintf(stderr, "\n");
}
