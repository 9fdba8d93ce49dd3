#include "load/script.h"

#include <stdio.h>

#include "base/mem.h"
#include "core/log.h"

#if WEIR_HAVE_LUAJIT
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#define FIELDS_MAX 64

struct script {
    lua_State *lua;
    bool request, response;
};

/* ---- to Lua and back ---- */

static void push(lua_State *l, struct bytes text)
{
    lua_pushlstring(l, text.ptr ? text.ptr : "", text.len);
}

static void set_text(lua_State *l, const char *key, struct bytes text)
{
    push(l, text);
    lua_setfield(l, -2, key);
}

/* A copy of the text at the top of the stack, which goes. */
static struct bytes pop(lua_State *l, struct arena *a)
{
    size_t len;
    const char *text = lua_tolstring(l, -1, &len);
    struct bytes copy = text ? arena_copy(a, (struct bytes){ text, len }) : BYTES_NONE;
    lua_pop(l, 1);
    return copy;
}

static void set_vars(lua_State *l, const struct script_call *c)
{
    lua_newtable(l);
    for (unsigned i = 0; i < c->scenario->slots_count; i++) {
        if (!c->slots[i].ptr)
            continue;
        push(l, c->scenario->slots[i]);
        push(l, c->slots[i]);
        lua_rawset(l, -3);
    }
    lua_setfield(l, -2, "vars");
}

/* From the table at the top. */
static bool take_vars(lua_State *l, const struct script_call *c)
{
    lua_getfield(l, -1, "vars");
    if (!lua_istable(l, -1)) {
        lua_pop(l, 1);
        return true;
    }
    for (unsigned i = 0; i < c->scenario->slots_count; i++) {
        push(l, c->scenario->slots[i]);
        lua_rawget(l, -2);
        if (lua_isnil(l, -1)) {
            lua_pop(l, 1);
            continue;
        }
        struct bytes value = pop(l, c->arena);
        if (!value.ptr) {
            lua_pop(l, 1);
            return false;
        }
        c->slots[i] = value;
    }
    lua_pop(l, 1);
    return true;
}

static bool report(lua_State *l, const char *hook)
{
    static struct log_limit limit = LOG_LIMIT(2);
    const char *why = lua_tostring(l, -1);
    log_limited(&limit, LOG_WARN, "load", "script: %s: %s", hook, why ? why : "an error that is no text");
    lua_settop(l, 0);
    return false;
}

/* ---- request ---- */

static void set_fields(lua_State *l, const struct scenario_parts *p)
{
    lua_newtable(l);
    for (size_t i = 0; i < p->fields_count; i++) {
        push(l, p->fields[i].name);
        push(l, p->fields[i].value);
        lua_rawset(l, -3);
    }
    lua_setfield(l, -2, "fields");
}

static bool take_fields(lua_State *l, struct arena *a, struct scenario_parts *p)
{
    struct scenario_part_field *fields = arena_get(a, FIELDS_MAX * sizeof *fields);
    size_t count = 0;
    bool good = fields != NULL;
    lua_getfield(l, -1, "fields");
    if (good && lua_istable(l, -1)) {
        for (lua_pushnil(l); lua_next(l, -2);) {
            struct bytes value = pop(l, a);
            lua_pushvalue(l, -1);
            struct bytes name = pop(l, a);
            good = good && count < FIELDS_MAX && name.ptr && value.ptr && http_is_token(name) &&
                   http_is_field_value(value) && http_field_id_of(name) != FIELD_CONTENT_LENGTH &&
                   http_field_id_of(name) != FIELD_TRANSFER_ENCODING;
            if (good)
                fields[count++] = (struct scenario_part_field){ name, value };
        }
    }
    lua_pop(l, 1);
    p->fields = fields;
    p->fields_count = count;
    return good;
}

static bool take_request(lua_State *l, const struct script_call *c, struct scenario_parts *p)
{
    lua_getfield(l, -1, "path");
    p->path = pop(l, c->arena);
    lua_getfield(l, -1, "body");
    p->body = pop(l, c->arena);
    if (!p->path.len || p->path.ptr[0] != '/' || !p->body.ptr)
        return false;
    for (size_t i = 0; i < p->path.len; i++) {
        if (p->path.ptr[i] <= ' ' || p->path.ptr[i] > '~' || p->path.ptr[i] == '#')
            return false;
    }
    return take_fields(l, c->arena, p) && take_vars(l, c);
}

bool script_request(struct script *s, const struct script_call *c, struct scenario_parts *parts)
{
    lua_State *l = s->lua;
    lua_settop(l, 0);
    lua_newtable(l); /* stays below the call, to be read again */
    set_text(l, "kind", c->kind);
    set_text(l, "method", parts->method);
    set_text(l, "path", parts->path);
    set_text(l, "body", parts->body);
    set_fields(l, parts);
    set_vars(l, c);
    lua_getglobal(l, "request");
    lua_pushvalue(l, 1);
    if (lua_pcall(l, 1, 0, 0))
        return report(l, "request");
    lua_settop(l, 1);
    bool good = take_request(l, c, parts);
    if (!good) {
        lua_pushliteral(l, "what it made is no request: a path, a body or a field is none");
        return report(l, "request");
    }
    lua_settop(l, 0);
    return true;
}

/* ---- response ---- */

static void set_answer_fields(lua_State *l, const struct http_fields *fields)
{
    lua_newtable(l);
    for (uint32_t i = fields->count; i-- > 0;) { /* of several the first */
        char name[128];
        const struct http_field *f = &fields->at[i];
        size_t len = f->name_len < sizeof name ? f->name_len : sizeof name;
        for (size_t n = 0; n < len; n++)
            name[n] = ascii_lower(f->name[n]);
        lua_pushlstring(l, name, len);
        push(l, http_field_value(f));
        lua_rawset(l, -3);
    }
    lua_setfield(l, -2, "fields");
}

bool script_response(struct script *s, const struct script_call *c, const struct expect_answer *a)
{
    lua_State *l = s->lua;
    lua_settop(l, 0);
    lua_newtable(l);
    set_text(l, "kind", c->kind);
    set_text(l, "body", a->body);
    lua_pushinteger(l, (lua_Integer)a->head->status);
    lua_setfield(l, -2, "status");
    lua_pushnumber(l, (double)a->ns / 1e6);
    lua_setfield(l, -2, "ms");
    set_answer_fields(l, &a->head->fields);
    set_vars(l, c);
    lua_getglobal(l, "response");
    lua_pushvalue(l, 1);
    if (lua_pcall(l, 1, 1, 0))
        return report(l, "response");
    bool refused = lua_isstring(l, -1) || (lua_isboolean(l, -1) && !lua_toboolean(l, -1));
    lua_settop(l, 1);
    bool good = take_vars(l, c);
    lua_settop(l, 0);
    return good && !refused;
}

/* ---- life ---- */

static bool has_function(lua_State *l, const char *name)
{
    lua_getglobal(l, name);
    bool is = lua_isfunction(l, -1);
    lua_pop(l, 1);
    return is;
}

err script_open(struct bytes text, const char *path, struct script **ret_script, struct diag *reterr)
{
    char name[256];
    struct script *s = mem_get(sizeof *s);
    if (!s)
        return ERR_MEMORY;
    s->lua = luaL_newstate();
    if (!s->lua) {
        mem_free(s);
        return ERR_MEMORY;
    }
    luaL_openlibs(s->lua);
    snprintf(name, sizeof name, "@%s", path);
    if (luaL_loadbuffer(s->lua, text.ptr, text.len, name) || lua_pcall(s->lua, 0, 0, 0)) {
        const char *why = lua_tostring(s->lua, -1);
        diag_set(reterr, "%s", why ? why : "the script failed");
        script_close(s);
        return ERR_CONF;
    }
    s->request = has_function(s->lua, "request");
    s->response = has_function(s->lua, "response");
    if (!s->request && !s->response) {
        diag_set(reterr, "%s: there is neither a function request nor a function response", path);
        script_close(s);
        return ERR_CONF;
    }
    *ret_script = s;
    return OK;
}

void script_close(struct script *s)
{
    if (s)
        lua_close(s->lua);
    mem_free(s);
}

bool script_has_request(const struct script *s)
{
    return s && s->request;
}

bool script_has_response(const struct script *s)
{
    return s && s->response;
}

#else

err script_open(struct bytes text, const char *path, struct script **ret_script, struct diag *reterr)
{
    (void)text;
    (void)ret_script;
    diag_set(reterr, "%s: this weir was built without LuaJIT", path);
    return ERR_CONF;
}

void script_close(struct script *s)
{
    (void)s;
}

bool script_has_request(const struct script *s)
{
    (void)s;
    return false;
}

bool script_has_response(const struct script *s)
{
    (void)s;
    return false;
}

bool script_request(struct script *s, const struct script_call *c, struct scenario_parts *parts)
{
    (void)s;
    (void)c;
    (void)parts;
    return false;
}

bool script_response(struct script *s, const struct script_call *c, const struct expect_answer *a)
{
    (void)s;
    (void)c;
    (void)a;
    return false;
}

#endif
