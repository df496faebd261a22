/*
 * enroll/form.c - see form.h.
 *
 * Both are read by the same few helpers: a field that is absent is empty, one of another type or too long is an error,
 * one that is unknown is skipped. Text from the other side never holds a control character.
 */
#include "enroll/form.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

static bool scalar(const json_t *v, char *buf, size_t size)
{
	const char *s = json_string_value(v);

	if (!s || json_string_length(v) >= size || strlen(s) != json_string_length(v) || text_has_control(s))
		return false;
	memcpy(buf, s, strlen(s) + 1);
	return true;
}

static bool get_text(const json_t *j, const char *name, char *buf, size_t size)
{
	const json_t *v = json_object_get(j, name);

	buf[0] = '\0';
	return !v || scalar(v, buf, size);
}

static bool get_endpoint(const json_t *j, const char *name, struct endpoint *ret)
{
	char text[ENDPOINT_STR_MAX];

	memset(ret, 0, sizeof(*ret));
	if (!get_text(j, name, text, sizeof(text)))
		return false;
	return !text[0] || endpoint_parse(text, ret) == OK;
}

/* A list of strings, each at most @size - 1 bytes; more than @max entries is an error. */
static bool get_list(const json_t *j, const char *name, char *buf, size_t size, size_t max, size_t *ret_n)
{
	const json_t *list = json_object_get(j, name), *v;
	size_t i;

	*ret_n = 0;
	if (!list)
		return true;
	if (!json_is_array(list) || json_array_size(list) > max)
		return false;
	json_array_foreach(list, i, v)
		if (!scalar(v, buf + i * size, size))
			return false;
	*ret_n = json_array_size(list);
	return true;
}

static json_t *list_of(const char *buf, size_t size, size_t n)
{
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, json_string(buf + i * size));
	return list;
}

static void set_endpoint(json_t *j, const char *name, const struct endpoint *ep)
{
	char text[ENDPOINT_STR_MAX];

	if (endpoint_is_set(ep))
		json_object_set_new(j, name, json_string(endpoint_format(ep, text)));
}

static char *dump(json_t *j)
{
	char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;

	json_decref(j);
	return text;
}

static json_t *load(struct bytes json)
{
	json_t *j = json_loadb((const char *)json.p, json.len, JSON_REJECT_DUPLICATES, NULL);

	if (json_is_object(j))
		return j;
	json_decref(j);
	return NULL;
}

/* ---- the request ---- */

char *enroll_request_write(const struct enroll_request *r)
{
	json_t *j = json_pack("{s:s, s:s, s:s, s:s, s:i, s:o}", "token", r->token, "host_id", r->host_id, "os", r->os, "version",
			      r->version, "listen_port", (int)r->listen_port, "host_keys",
			      list_of(r->host_keys[0], sizeof(r->host_keys[0]), r->n_host_keys));

	if (j)
		set_endpoint(j, "local_endpoint", &r->local_endpoint);
	return dump(j);
}

static bool request_fields(const json_t *j, struct enroll_request *r)
{
	json_int_t port = json_integer_value(json_object_get(j, "listen_port"));

	if (port < 0 || port > 65535)
		return false;
	r->listen_port = (uint16_t)port;
	return get_text(j, "token", r->token, sizeof(r->token)) && get_text(j, "host_id", r->host_id, sizeof(r->host_id)) &&
	       get_text(j, "os", r->os, sizeof(r->os)) && get_text(j, "version", r->version, sizeof(r->version)) &&
	       get_endpoint(j, "local_endpoint", &r->local_endpoint) &&
	       get_list(j, "host_keys", r->host_keys[0], sizeof(r->host_keys[0]), ENROLL_HOST_KEYS_MAX, &r->n_host_keys);
}

enum err enroll_request_read(struct bytes json, struct enroll_request *ret)
{
	json_t *j = load(json);
	bool ok = j && request_fields(j, ret);

	json_decref(j);
	return ok ? OK : ERR_FORMAT;
}

/* ---- the reply ---- */

char *enroll_reply_write(const struct enroll_reply *r)
{
	json_t *addrs = json_array(), *operator_addrs = json_array(), *j;
	char text[PREFIX_STR_MAX];

	for (size_t i = 0; i < r->n_addrs; i++)
		json_array_append_new(addrs, json_string(ip_prefix_format(&r->addrs[i], text)));
	for (size_t i = 0; i < r->n_operator_addrs; i++)
		json_array_append_new(operator_addrs, json_string(ip_addr_format(&r->operator_addrs[i], text)));
	j = json_pack("{s:i, s:s, s:s, s:s, s:o, s:o, s:o, s:I}", "code", (int)r->code, "error",
		      r->code == ENROLL_OK ? "" : enroll_code_text(r->code), "host_id", r->host_id, "state", r->state, "addrs",
		      addrs, "operator_addrs", operator_addrs, "derp_servers",
		      list_of(r->derp_servers[0], sizeof(r->derp_servers[0]), r->n_derp_servers), "max_file_size",
		      (json_int_t)r->max_file_size);
	if (j)
		set_endpoint(j, "endpoint", &r->endpoint);
	return dump(j);
}

static bool reply_addrs(const json_t *j, struct enroll_reply *r)
{
	char own[ENROLL_ADDRS_MAX][PREFIX_STR_MAX], theirs[ENROLL_ADDRS_MAX][PREFIX_STR_MAX];

	if (!get_list(j, "addrs", own[0], sizeof(own[0]), ENROLL_ADDRS_MAX, &r->n_addrs) ||
	    !get_list(j, "operator_addrs", theirs[0], sizeof(theirs[0]), ENROLL_ADDRS_MAX, &r->n_operator_addrs))
		return false;
	for (size_t i = 0; i < r->n_addrs; i++)
		if (ip_prefix_parse(own[i], &r->addrs[i]) != OK)
			return false;
	for (size_t i = 0; i < r->n_operator_addrs; i++)
		if (ip_addr_parse(theirs[i], &r->operator_addrs[i]) != OK)
			return false;
	return true;
}

static bool reply_fields(const json_t *j, struct enroll_reply *r)
{
	const json_t *code = json_object_get(j, "code");
	json_int_t size = json_integer_value(json_object_get(j, "max_file_size"));

	if (!json_is_integer(code) || size < 0)
		return false;
	/* A code of a later release is an error that we have no own words for. */
	r->code = json_integer_value(code) >= 0 && json_integer_value(code) < ENROLL_CODE_N ?
			  (enum enroll_code)json_integer_value(code) : ENROLL_VALIDATION;
	r->max_file_size = (uint64_t)size;
	if (!get_text(j, "host_id", r->host_id, sizeof(r->host_id)) || !get_text(j, "state", r->state, sizeof(r->state)) ||
	    !get_endpoint(j, "endpoint", &r->endpoint) || !reply_addrs(j, r) ||
	    !get_list(j, "derp_servers", r->derp_servers[0], sizeof(r->derp_servers[0]), ENROLL_DERP_MAX, &r->n_derp_servers))
		return false;
	return r->code != ENROLL_OK || (r->n_addrs > 0 && r->n_operator_addrs > 0 && r->host_id[0] && r->state[0]);
}

enum err enroll_reply_read(struct bytes json, struct enroll_reply *ret)
{
	struct enroll_reply r = { .code = ENROLL_VALIDATION };
	json_t *j = load(json);
	bool ok = j && reply_fields(j, &r);

	json_decref(j);
	if (ok)
		*ret = r;
	return ok ? OK : ERR_FORMAT;
}
