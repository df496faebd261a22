/* base/ecode.c - see ecode.h. */
#include "base/ecode.h"

#include "base/types.h"

static const struct ecode table[] = {
#define ECODE_ROW(number, title, hint) { number, title, hint },
	ECODE_LIST(ECODE_ROW)
#undef ECODE_ROW
};

const struct ecode *ecode_at(unsigned i)
{
	return i < ARRAY_SIZE(table) ? &table[i] : NULL;
}

const struct ecode *ecode_find(unsigned number)
{
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (table[i].number == number)
			return &table[i];
	return &table[ARRAY_SIZE(table) - 1];
}
