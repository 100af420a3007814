/*
 * Another state in a node's text. Members that we do not know, their order, spaces and escapes stay
 * as they are: only the value of `state` is exchanged, or the member added as the last. Readers
 * take any case of the name, and of several the first or the last; so all are exchanged.
 */
#include "drain.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <uv.h>

/* Where a string ends (behind its quote) that begins at p; NULL: not within the text. */
static const char *end_of_string(const char *p, const char *end)
{
    for (p++; p < end; p++) {
        if (*p == '\\')
            p++;
        else if (*p == '"')
            return p + 1;
    }
    return NULL;
}

static const char *skip_space(const char *p, const char *end)
{
    while (p < end && memchr(" \t\r\n", *p, 4))
        p++;
    return p;
}

/* Where the value ends that begins at p. */
static const char *end_of_value(const char *p, const char *end)
{
    for (int depth = 0; p < end;) {
        if (*p == '"') {
            p = end_of_string(p, end);
            if (!p)
                return NULL;
            continue;
        }
        if (!depth && (*p == ',' || *p == '}'))
            return p;
        if (*p == '{' || *p == '[')
            depth++;
        else if (*p == '}' || *p == ']')
            depth--;
        p++;
    }
    return NULL;
}

struct output {
    char *text, *to;
};

static void put(struct output *out, const char *from, const char *to)
{
    memcpy(out->to, from, (size_t)(to - from));
    out->to += to - from;
}

/* Copies the members of an object, from behind its brace on, exchanging states. False: not JSON. */
static bool copy_members(struct output *out, const char *p, const char *end, char digit)
{
    const char *copied = p;
    bool found = false;
    p = skip_space(p, end);
    bool is_empty = p < end && *p == '}';
    while (!is_empty && p < end) {
        const char *name = p, *name_end = *p == '"' ? end_of_string(p, end) : NULL;
        p = name_end ? skip_space(name_end, end) : end;
        if (p == end || *p != ':')
            return false;
        const char *value = skip_space(p + 1, end), *value_end = end_of_value(value, end);
        if (!value_end || value_end == value)
            return false;
        if (name_end - name == 7 && !strncasecmp(name, "\"state\"", 7)) {
            put(out, copied, value);
            *out->to++ = digit;
            copied = value_end;
            found = true;
        }
        if (*value_end == '}') {
            p = value_end;
            break;
        }
        p = skip_space(value_end + 1, end);
    }
    if (p >= end)
        return false;
    put(out, copied, p);
    if (!found) {
        static const char member[] = ",\"state\":";
        const char *first = member + (is_empty ? 1 : 0);
        put(out, first, member + sizeof member - 1);
        *out->to++ = digit;
    }
    put(out, p, end);
    *out->to = 0;
    return true;
}

int fwi_node_with_state(fw_slice json, fw_instance_state state, char **ret_json)
{
    const fw_instance *instance;
    const char *text = json.data;
    /* Room for a member more; one that is exchanged does not grow. */
    struct output out = {.text = malloc(json.len + 32)};
    if (!out.text)
        return UV_ENOMEM;
    out.to = out.text;
    const char *end = text + json.len, *brace = skip_space(text, end);
    char digit = state == FW_INSTANCE_OFFLINE ? '1' : '0';
    int err = FW_EINSTANCE;
    if (brace < end && *brace == '{' && !memchr(text, 0, json.len)) {
        put(&out, text, brace + 1);
        if (copy_members(&out, brace + 1, end, digit))
            err = fw_instance_decode("s", "i", (fw_slice){out.text, strlen(out.text)}, &instance);
    }
    if (!err) {
        err = instance->state == state ? FW_OK : FW_EINSTANCE;
        fw_instance_release(instance);
    }
    if (err)
        free(out.text);
    else
        *ret_json = out.text;
    return err;
}
