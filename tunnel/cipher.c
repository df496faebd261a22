/*
 * tunnel/cipher.c - which cipher provider a tunnel uses, and what it holds while nothing happens.
 *
 *	QUIET   libsodium, which is there anyway; buffers given back
 *	BUSY    from half a megabyte within a second: the fastest provider of this machine
 *
 * The fast libraries cost 4 MiB of memory each, which an idle agent need not hold; loading one takes half a millisecond. After
 * 30 s with little traffic it is unloaded, and what the packet pool, the receive slots and malloc have free goes back to the
 * system.
 *
 * Which one is the fastest is measured (wg_aead_pick(), about 2 ms), once for a processor, a build and a set of installed
 * libraries: the state file keeps the answer. It is measured in a child process, because libcrypto, once loaded, stays;
 * until its answer is there, a few milliseconds later, the traffic goes on with libsodium. In another program's process
 * (libnefia) it is measured in place: a fork of many threads could stand still. The configuration may force
 * one: then it is loaded at start and stays. Whatever is loaded must first answer as the reference does.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/version.h"
#include "os/proc.h"
#include "os/task.h"
#include "tunnel/tunnel_internal.h"

#define BUSY_BYTES (512 * 1024) /* within BUSY_WINDOW */
#define BUSY_WINDOW NSEC_PER_SEC
#define LOOK_EVERY (10 * NSEC_PER_SEC)
#define QUIET_BYTES (64 * 1024) /* within LOOK_EVERY */
#define N_QUIET_LOOKS 3
#define MEASURE_MAX (2 * NSEC_PER_SEC)

/* The process's: libraries are loaded once for all tunnels. */
static struct {
	char name[TUNNEL_AEAD_MAX]; /* the fastest here; empty: not known yet */
	unsigned n_users;           /* tunnels that use it */
	unsigned n_forced;          /* tunnels with one of their own choice, which might be the same */
	struct os_task *measuring;
	struct tunnel *asked_by;
} fastest;

/* The build and the machine for which a measurement holds. */
static uint64_t print(void)
{
	static const char build[] = NEFIA_VERSION " " NEFIA_COMMIT;
	uint64_t h = os_machine_print();

	for (const char *p = build; *p; p++)
		h = (h ^ (uint8_t)*p) * 1099511628211ULL;
	return h;
}

static void be_fast(struct tunnel *t)
{
	if (!fastest.name[0] || t->cipher.fast || t->cipher.forced)
		return;
	if (!wg_aead_name_is_sound(fastest.name)) {
		log_warn("cipher not used: it is missing or answers wrongly aead=%s", fastest.name);
		snprintf(fastest.name, sizeof(fastest.name), "libsodium");
	}
	if (!wg_device_set_aead(t->dev, fastest.name))
		return;
	tunnel_workers_new_cipher(t);
	log_debug("cipher aead=%s", fastest.name);
	t->cipher.fast = true;
	fastest.n_users++;
}

static void be_slow(struct tunnel *t)
{
	if (!t->cipher.fast)
		return;
	t->cipher.fast = false;
	if (!wg_device_set_aead(t->dev, NULL) || --fastest.n_users > 0 || fastest.n_forced > 0)
		return;
	wg_aead_release(fastest.name);
	log_debug("cipher aead=%s", wg_device_aead(t->dev));
}

/* ---- measuring ---- */

static void measure(int fd, void *arg)
{
	const char *name = wg_aead_pick(os_now);

	if (write(fd, name, strlen(name)) < 0)
		_exit(1);
}

/* @t: who gets and keeps the answer; NULL = it is gone */
static void take_measured(struct tunnel *t, const char *answer, size_t len)
{
	snprintf(fastest.name, sizeof(fastest.name), "%.*s", (int)len, answer);
	/* A child that died in a foreign library, or was not done in time: for this process that is an answer too. */
	if (!wg_aead_name_is_known(fastest.name))
		snprintf(fastest.name, sizeof(fastest.name), "libsodium");
	log_info("cipher measured aead=%s", fastest.name);
	if (!t)
		return;
	/* A machine too busy to answer in time is measured again at the next start. */
	if (len > 0)
		tunnel_state_set_aead(&t->state, fastest.name, print());
	if (t->cipher.busy)
		be_fast(t);
}

static void on_measured(void *ctx, const char *answer, size_t len)
{
	struct tunnel *t = fastest.asked_by;

	fastest.measuring = NULL;
	fastest.asked_by = NULL;
	take_measured(t, answer, len);
}

static void find_fastest(struct tunnel *t)
{
	const char *kept = fastest.name[0] ? NULL : tunnel_state_aead(&t->state, print());

	if (kept && wg_aead_name_is_known(kept))
		snprintf(fastest.name, sizeof(fastest.name), "%s", kept);
	if (fastest.name[0] || fastest.measuring)
		return;
	if (t->cfg.is_guest) {
		const char *name = wg_aead_pick(os_now);

		take_measured(t, name, strlen(name));
		return;
	}
	fastest.asked_by = t;
	if (os_task_start(t->loop, measure, NULL, os_loop_now(t->loop) + MEASURE_MAX, on_measured, NULL,
			  &fastest.measuring) != OK)
		fastest.asked_by = NULL;
}

/* ---- busy and quiet ---- */

static void become_quiet(struct tunnel *t)
{
	t->cipher.busy = false;
	tunnel_workers_stop(t);
	be_slow(t);
	tunnel_rest(t);
}

static void on_look(void *ctx)
{
	struct tunnel *t = ctx;

	t->cipher.n_quiet = t->cipher.bytes < QUIET_BYTES ? t->cipher.n_quiet + 1 : 0;
	t->cipher.bytes = 0;
	if (t->cipher.n_quiet >= N_QUIET_LOOKS)
		become_quiet(t);
	else
		os_timer_set(&t->cipher.look, os_loop_now(t->loop) + LOOK_EVERY);
}

void tunnel_cipher_turn(struct tunnel *t)
{
	nsec_t now = os_loop_now(t->loop);

	/* It may have been measured for another tunnel meanwhile. */
	if (t->cipher.busy && !t->cipher.fast)
		be_fast(t);
	if (t->cipher.busy || t->cipher.bytes == 0)
		return;
	if (now - t->cipher.since > BUSY_WINDOW) {
		t->cipher.since = now;
		t->cipher.bytes = 0;
	} else if (t->cipher.bytes >= BUSY_BYTES) {
		t->cipher.busy = true;
		t->cipher.n_quiet = 0;
		os_timer_set(&t->cipher.look, now + LOOK_EVERY);
		if (!t->cipher.forced)
			find_fastest(t);
		be_fast(t);
	}
}

/* ---- life ---- */

enum err tunnel_cipher_init(struct tunnel *t)
{
	const char *name = t->cfg.aead;

	os_timer_init(&t->cipher.look, t->loop, on_look, t);
	if (name && !wg_aead_name_is_sound(name))
		return ERR_UNSUPPORTED;
	t->cipher.forced = name != NULL;
	fastest.n_forced += t->cipher.forced;
	log_debug("cipher aead=%s", name ? name : "chosen when there is traffic");
	return OK;
}

void tunnel_cipher_fini(struct tunnel *t)
{
	os_timer_cancel(&t->cipher.look);
	if (t->dev)
		be_slow(t);
	fastest.n_forced -= t->cipher.forced;
	t->cipher.forced = false;
	if (fastest.asked_by != t)
		return;
	os_task_cancel(fastest.measuring);
	fastest.measuring = NULL;
	fastest.asked_by = NULL;
}
