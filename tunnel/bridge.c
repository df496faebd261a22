/*
 * tunnel/bridge.c - bytes between a stream of this machine and a virtual connection.
 *
 * Nothing is queued here: towards the tunnel one chunk is read only when TCP has room for it; towards the machine the views of
 * received buffers go to writev as they are. An end on one side becomes an end on the other, a reset a reset; the
 * bridge is over when both directions ended, or at the first error. What had been received before a reset came is
 * still passed on, for it was acknowledged; when that and our own direction had ended too, it was no loss at all.
 */
#include <stdlib.h>

#include "os/stream.h"
#include "tunnel/gather.h"
#include "tunnel/tunnel_internal.h"

#define READ (256 << 10) /* of the local socket at once: each costs an ACK and, perhaps, a wake-up of the program */
#define READ_FIRST (16 << 10) /* until that much came at once: many pieces of memory are dear for a few bytes */
#define UNREAD_MAX (256 << 10) /* the kernel would let megabytes of it stand in memory that no cache holds */
#define STANDS_AFTER (100 * NSEC_PER_MSEC) /* not read for so long: before TCP's first timeout, and longer than 32 writers wait for turns */
#define N_IOV 192 /* packets: a turn of a writer at the other end (netstack/room.c) */

struct tunnel_bridge {
	struct os_loop *loop;
	struct tunnel *t;
	struct os_stream *s;
	struct net_tcp *c;
	struct os_timer end_timer, gather_timer, stand_timer;
	struct tunnel_gather gather;
	tunnel_bridge_fn fn;
	void *ctx;
	bool in_done;  /* stream -> tunnel has ended */
	bool out_done; /* tunnel -> stream has ended */
	bool much;     /* the last read took all that it might */
	bool reading, stands; /* is asked for bytes; was not for STANDS_AFTER, and the kernel may take what is on its way */
	bool stream_full;
	bool tunnel_full;
	bool over;
	enum err failed; /* the virtual connection is gone; what it had received is passed on yet */
	enum err result;
};

static void end(struct tunnel_bridge *b, enum err e)
{
	if (b->over)
		return;
	b->over = true;
	b->result = e;
	os_timer_cancel(&b->gather_timer);
	os_timer_cancel(&b->stand_timer);
	os_stream_want(b->s, 0);
	/* From the loop: the caller may be in the middle of a callback of either side. */
	os_timer_set(&b->end_timer, 0);
}

static void on_end(void *ctx)
{
	struct tunnel_bridge *b = ctx;
	struct tunnel *t = b->t;

	if (b->result == OK) {
		net_tcp_close(b->c);
		os_stream_close(b->s);
	} else {
		net_tcp_abort(b->c);
		os_stream_reset(b->s);
	}
	b->c = NULL;
	b->s = NULL;
	if (b->fn)
		b->fn(b->ctx, b, b->out_done ? OK : b->result);
	free(b);
	tunnel_kick(t);
}

static void on_stands(void *ctx)
{
	struct tunnel_bridge *b = ctx;

	b->stands = true;
	os_stream_limit_unread(b->s, 0);
}

static void set_reading(struct tunnel_bridge *b, bool reading)
{
	if (reading == b->reading)
		return;
	b->reading = reading;
	os_timer_set(&b->stand_timer, reading || b->in_done ? NSEC_NEVER : os_loop_now(b->loop) + STANDS_AFTER);
	if (reading && b->stands)
		os_stream_limit_unread(b->s, UNREAD_MAX);
	b->stands = b->stands && !reading;
}

static void update_interest(struct tunnel_bridge *b)
{
	int want = 0;

	if (b->over)
		return;
	if (b->failed != OK && !b->stream_full) {
		end(b, b->in_done && b->out_done ? OK : b->failed);
		return;
	}
	if (!b->in_done && !b->tunnel_full && b->failed == OK)
		want |= OS_READ;
	if (b->stream_full)
		want |= OS_WRITE;
	set_reading(b, want & OS_READ);
	os_stream_want(b->s, want);
	if (b->in_done && b->out_done)
		end(b, OK);
}

/* ---- tunnel -> stream ---- */

static void pump_out(struct tunnel_bridge *b)
{
	struct iovec iov[N_IOV];

	while (!b->over && !b->out_done) {
		int n = net_tcp_peek(b->c, iov, N_IOV);
		size_t took;
		enum err e;

		if (n == 0)
			break;
		e = os_stream_writev(b->s, iov, n, &took);
		b->stream_full = e == ERR_AGAIN;
		if (b->stream_full)
			return;
		if (e != OK) {
			end(b, e);
			return;
		}
		net_tcp_consume(b->c, took);
	}
	b->stream_full = false;
	if (!b->over && !b->out_done && net_tcp_at_eof(b->c)) {
		/* When the other direction has ended before, closing says it too. */
		if (!b->in_done)
			os_stream_shutdown(b->s);
		b->out_done = true;
	}
}

/* ---- stream -> tunnel ---- */

/* What stands there is read a little later. Not while the tunnel is full: nothing could be done with it before that says so. */
static void wait_for_more(struct tunnel_bridge *b)
{
	if (b->gather.on && !b->tunnel_full && !b->over && !b->in_done)
		os_timer_set(&b->gather_timer, os_loop_now(b->loop) + GATHER_WAIT);
}

static void gather(struct tunnel_bridge *b, size_t n)
{
	if (tunnel_gather_read(&b->gather, os_loop_now(b->loop), n))
		os_stream_low_water(b->s, GATHER_BYTES);
	wait_for_more(b);
}

/* Bytes of the stream, OK with none at its end; the tunnel being full is ERR_AGAIN too. */
static enum err read_some(struct tunnel_bridge *b, size_t *ret_n, size_t *ret_room)
{
	struct net_reserve to;
	enum err e = net_tcp_reserve(b->c, b->much ? READ : READ_FIRST, &to);

	b->tunnel_full = e == ERR_AGAIN;
	if (e == OK)
		e = os_stream_readv(b->s, to.iov, to.n, ret_n);
	*ret_room = to.len;
	return e;
}

/* Return: bytes read. */
static size_t pump_in(struct tunnel_bridge *b)
{
	size_t sum = 0;

	net_set_now(os_loop_now(b->loop)); /* much is sent from here */
	while (!b->over && !b->in_done && b->failed == OK) {
		size_t n, room;
		enum err e = read_some(b, &n, &room);

		if (e == ERR_AGAIN)
			return sum;
		if (e != OK) {
			end(b, e);
			return sum;
		}
		if (n == 0) {
			net_tcp_shutdown(b->c);
			b->in_done = true;
			os_timer_cancel(&b->gather_timer);
			return sum;
		}
		b->much = n >= READ_FIRST;
		/* Room was there: less than all would be a loss, so it is an error. */
		if (net_tcp_commit(b->c, n) != n)
			end(b, ERR_NOMEM);
		sum += n;
		gather(b, n);
		if (n < room)
			return sum;
	}
	return sum;
}

/* The last small writes before a pause, or the program is slower than it was. */
static void on_gathered(void *ctx)
{
	struct tunnel_bridge *b = ctx;

	if (b->tunnel_full)
		return;
	if (tunnel_gather_waited(&b->gather, pump_in(b))) {
		os_stream_low_water(b->s, 1);
		os_timer_cancel(&b->gather_timer);
	} else {
		wait_for_more(b);
	}
	update_interest(b);
	tunnel_kick(b->t);
}

static void on_stream(void *ctx, struct os_stream *s, int events)
{
	struct tunnel_bridge *b = ctx;

	if (events & OS_WRITE)
		pump_out(b);
	if (b->failed != OK && (events & OS_HANGUP))
		end(b, b->failed);
	else if (events & (OS_READ | OS_HANGUP))
		pump_in(b);
	update_interest(b);
	tunnel_kick(b->t);
}

static void fail(struct tunnel_bridge *b)
{
	b->failed = net_tcp_error(b->c) == OK ? ERR_RESET : net_tcp_error(b->c);
	if (!b->stream_full)
		pump_out(b);
}

static void on_tcp(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	struct tunnel_bridge *b = ctx;

	if (ev == NET_TCP_READABLE && !b->stream_full)
		pump_out(b);
	else if (ev == NET_TCP_WRITABLE)
		pump_in(b);
	else if (ev == NET_TCP_ERROR)
		fail(b);
	if (ev == NET_TCP_WRITABLE)
		wait_for_more(b);
	update_interest(b);
}

enum err tunnel_bridge_start(struct os_loop *loop, struct tunnel *t, int fd, struct net_tcp *c, tunnel_bridge_fn fn,
			     void *ctx, struct tunnel_bridge **ret)
{
	struct tunnel_bridge *b = calloc(1, sizeof(*b));
	enum err e;

	if (!b)
		return ERR_NOMEM;
	*b = (struct tunnel_bridge){ .loop = loop, .t = t, .c = c, .fn = fn, .ctx = ctx };
	e = os_stream_new(loop, fd, on_stream, b, &b->s);
	if (e != OK) {
		free(b);
		return e;
	}
	os_stream_limit_unread(b->s, UNREAD_MAX);
	b->reading = true;
	os_timer_init(&b->end_timer, loop, on_end, b);
	os_timer_init(&b->stand_timer, loop, on_stands, b);
	os_timer_init(&b->gather_timer, loop, on_gathered, b);
	net_tcp_set_fn(c, on_tcp, b);
	*ret = b;
	/* What came before we listened, from either side: the first bytes then go with the ACK that ends the handshake. */
	if (net_tcp_error(c) != OK) {
		fail(b);
	} else {
		pump_out(b);
		pump_in(b);
	}
	update_interest(b);
	return OK;
}

bool tunnel_bridge_is_behind(const struct tunnel_bridge *b)
{
	return !b->over && !b->in_done && os_stream_unread(b->s) > 0;
}

void tunnel_bridge_abort(struct tunnel_bridge *b)
{
	if (!b)
		return;
	os_timer_cancel(&b->end_timer);
	os_timer_cancel(&b->gather_timer);
	os_timer_cancel(&b->stand_timer);
	net_tcp_abort(b->c);
	os_stream_reset(b->s);
	free(b);
}
