/* Files of TLS, from options into the parameters of a URL. */
#include "cli.h"

#include <ctype.h>
#include <fairway/url.h>
#include <stdlib.h>
#include <string.h>

/* Writes name=value, percent-encoded, at text and returns its end. */
static char *add_param(char *text, const char *name, const char *value)
{
    text += sprintf(text, "%s=", name);
    for (; *value; value++) {
        bool is_plain = isalnum((unsigned char)*value) || strchr("/._-~", *value);
        text += sprintf(text, is_plain ? "%c" : "%%%02X", (unsigned char)*value);
    }
    return text;
}

bool cli_tls_is_given(const cli_tls_options *options)
{
    return options->cert || options->key || options->ca;
}

bool cli_tls_applies(const char *url)
{
    return !strncmp(url, "tls:", 4) || !strncmp(url, "wss:", 4);
}

int cli_tls_url(const cli_tls_options *options, const char *text, char **ret_url)
{
    const char *names[] = {"cert", "key", "ca"};
    const char *values[] = {options->cert, options->key, options->ca};
    fw_url url;
    size_t size = strlen(text) + 1;
    int err = fw_url_init(&url, text);
    if (err)
        return err;
    for (int i = 0; i < 3; i++)
        size += values[i] ? strlen(names[i]) + 3 * strlen(values[i]) + sizeof "&=" : 0;
    char *made = malloc(size), *end = made;
    if (made) {
        end += sprintf(made, "%s", text);
        bool has_params = strchr(text, '?') != NULL;
        for (int i = 0; i < 3 && cli_tls_applies(text); i++) {
            if (!values[i] || fw_url_get(&url, names[i]))
                continue; /* the URL's own stands */
            *end++ = has_params ? '&' : '?';
            end = add_param(end, names[i], values[i]);
            has_params = true;
        }
        *ret_url = made;
    }
    fw_url_fini(&url);
    return made ? FW_OK : UV_ENOMEM;
}
