/* test/lib/shortage.c - see shortage.h. */
#include "test/lib/shortage.h"

#include <stdarg.h>

#include "base/pktbuf.h"
#include "test/lib/wirewatch.h"

#define SHORTAGE (2 * NSEC_PER_SEC)

struct shortage shortage;

void shortage_begin(nsec_t now, unsigned fail, bool lasts)
{
	shortage.n = shortage.n_failed = 0;
	shortage.fail = fail;
	shortage.lasts = lasts;
	shortage.now = now;
	shortage.is_on = true;
}

unsigned shortage_end(void)
{
	shortage.is_on = false;
	return shortage.n;
}

bool shortage_hits(void)
{
	struct shortage *s = &shortage;

	if (!s->is_on || s->exempt)
		return false;
	if (s->clock)
		s->now = s->clock();
	if (++s->n == s->fail)
		s->until = s->now + SHORTAGE;
	else if (!s->lasts || s->n < s->fail || s->now >= s->until || s->fail == 0)
		return false;
	s->n_failed++;
	return true;
}

/* ---- one after the other ---- */

static const char *failed_name;
static unsigned failed_at;
static bool failed_lasting, is_broken;

int shortage_teardown(void **state)
{
	shortage.is_on = false;
	if (failed_name && !is_broken)
		print_message("%s: allocation %u%s\n", failed_name, failed_at, failed_lasting ? " and those after it" : "");
	is_broken = failed_name != NULL;
	return 0;
}

void shortage_torture(const char *name, unsigned (*fn)(unsigned fail, bool lasts), int n_kinds)
{
	unsigned n, n_runs = 0;

	if (is_broken)
		skip(); /* all is as the failure left it */
	failed_name = name;
	n = fn(0, false);
	for (int lasts = 0; lasts < n_kinds; lasts++)
		for (unsigned i = 1; i <= n; i++, n_runs++) {
			failed_at = i;
			failed_lasting = lasts;
			fn(i, lasts);
		}
	failed_name = NULL;
	print_message("%s: %u allocations, %u runs\n", name, n, n_runs);
}

/* ---- in front of the real ones (ld --wrap) ---- */

void *__real_malloc(size_t len);
void *__wrap_malloc(size_t len);
void *__real_calloc(size_t n, size_t len);
void *__wrap_calloc(size_t n, size_t len);
void *__real_realloc(void *p, size_t len);
void *__wrap_realloc(void *p, size_t len);
void *__real_aligned_alloc(size_t align, size_t len);
void *__wrap_aligned_alloc(size_t align, size_t len);
void __real_free(void *p);
void __wrap_free(void *p);
char *__wrap_strdup(const char *s);
char *__wrap_strndup(const char *s, size_t len);
int __wrap_asprintf(char **ret, const char *format, ...);
int __wrap___asprintf_chk(char **ret, int flag, const char *format, ...);
FILE *__real_open_memstream(char **ret, size_t *ret_len);
FILE *__wrap_open_memstream(char **ret, size_t *ret_len);
void *__real_net_lwip_malloc(size_t len);
void *__wrap_net_lwip_malloc(size_t len);
void *__real_net_lwip_calloc(size_t n, size_t len);
void *__wrap_net_lwip_calloc(size_t n, size_t len);
struct pktbuf *__real_pktbuf_alloc(struct pktpool *pool, struct pktowner *owner);
struct pktbuf *__wrap_pktbuf_alloc(struct pktpool *pool, struct pktowner *owner);
const char *__real_wirewatch_packet(struct wirewatch *w, int side, const uint8_t *p, size_t len);
const char *__wrap_wirewatch_packet(struct wirewatch *w, int side, const uint8_t *p, size_t len);

static void *live(void *p)
{
	shortage.n_live += p != NULL;
	return p;
}

void *__wrap_malloc(size_t len)
{
	return !(shortage.not_bytes && len == shortage.not_bytes) && shortage_hits() ? NULL : live(__real_malloc(len));
}

void *__wrap_calloc(size_t n, size_t len)
{
	return shortage_hits() ? NULL : live(__real_calloc(n, len));
}

void *__wrap_realloc(void *p, size_t len)
{
	if (shortage_hits())
		return NULL;
	return p ? __real_realloc(p, len) : live(__real_realloc(p, len));
}

void *__wrap_aligned_alloc(size_t align, size_t len)
{
	return shortage_hits() ? NULL : live(__real_aligned_alloc(align, len));
}

void __wrap_free(void *p)
{
	shortage.n_live -= p != NULL;
	__real_free(p);
}

char *__wrap_strndup(const char *s, size_t len)
{
	size_t n = strnlen(s, len);
	char *p = __wrap_malloc(n + 1);

	if (!p)
		return NULL;
	memcpy(p, s, n);
	p[n] = '\0';
	return p;
}

char *__wrap_strdup(const char *s)
{
	return __wrap_strndup(s, strlen(s));
}

static int print_into(char **ret, const char *format, va_list args)
{
	int n = shortage_hits() ? -1 : vasprintf(ret, format, args);

	if (n >= 0)
		live(*ret);
	return n;
}

int __wrap_asprintf(char **ret, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = print_into(ret, format, args);
	va_end(args);
	return n;
}

/* What asprintf() is with _FORTIFY_SOURCE. */
int __wrap___asprintf_chk(char **ret, int flag, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = print_into(ret, format, args);
	va_end(args);
	return n;
}

FILE *__wrap_open_memstream(char **ret, size_t *ret_len)
{
	FILE *f = shortage_hits() ? NULL : __real_open_memstream(ret, ret_len);

	/* Its buffer, which the caller frees. */
	shortage.n_live += f != NULL;
	return f;
}

void *__wrap_net_lwip_malloc(size_t len)
{
	return shortage_hits() ? NULL : __real_net_lwip_malloc(len);
}

void *__wrap_net_lwip_calloc(size_t n, size_t len)
{
	return shortage_hits() ? NULL : __real_net_lwip_calloc(n, len);
}

struct pktbuf *__wrap_pktbuf_alloc(struct pktpool *pool, struct pktowner *owner)
{
	return shortage_hits() ? NULL : __real_pktbuf_alloc(pool, owner);
}

/* The memory of who watches is not the product's. */
const char *__wrap_wirewatch_packet(struct wirewatch *w, int side, const uint8_t *p, size_t len)
{
	const char *why;

	shortage.exempt = true;
	why = __real_wirewatch_packet(w, side, p, len);
	shortage.exempt = false;
	return why;
}
