/* base/types.h - the few types and macros that every folder uses. */
#ifndef BASE_TYPES_H
#define BASE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A point in time or a span, in nanoseconds. Points are monotonic and count suspend (CLOCK_BOOTTIME)
 * unless the name says "wall" (Unix time). */
typedef uint64_t nsec_t;

#define NSEC_NEVER UINT64_MAX
#define NSEC_PER_USEC 1000ULL
#define NSEC_PER_MSEC 1000000ULL
#define NSEC_PER_SEC 1000000000ULL

/* A view of somebody else's bytes; who passes it says until when it lives. */
struct bytes {
	const uint8_t *p;
	size_t len;
};

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/* Under AddressSanitizer; gcc tells by a macro, clang by a feature. */
#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define NORETURN __attribute__((noreturn))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

/** assert_failed() - report our own bug and abort; bytes from outside never lead here */
NORETURN void assert_failed(const char *expr, const char *file, int line);

/* Stays on in release builds: a wrong state must not go on running with keys in memory. */
#define ASSERT(x) (LIKELY(x) ? (void)0 : assert_failed(#x, __FILE__, __LINE__))

static inline nsec_t nsec_add(nsec_t a, nsec_t b)
{
	return a > NSEC_NEVER - b ? NSEC_NEVER : a + b;
}

static inline nsec_t nsec_min(nsec_t a, nsec_t b)
{
	return a < b ? a : b;
}

#endif
