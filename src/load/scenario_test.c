#include "load/scenario.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/test.h"

#define HEAD "target: http://shop.example:8080\n"

static char folder[64], path[96];

static void write_file(const char *name, const char *text)
{
    char full[128];
    snprintf(full, sizeof full, "%s/%s", folder, name);
    FILE *f = fopen(full, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static struct scenario *opened(const char *text)
{
    struct scenario *s;
    struct diag d = DIAG_NONE;
    char words[700];
    if (scenario_open(bytes_from(text), path, BYTES_NONE, NULL, &s, &d) != OK)
        fail_msg("%s", diag_print(&d, words, sizeof words));
    return s;
}

static void wrong(const char *text, unsigned line, const char *says)
{
    struct scenario *s;
    struct diag d = DIAG_NONE;
    assert_int_equal(scenario_open(bytes_from(text), path, BYTES_NONE, NULL, &s, &d), ERR_CONF);
    if (!strstr(d.text, says) || (line && d.line != line))
        fail_msg("line %u: %s", d.line, d.text);
}

static struct bytes value(struct template_values *v, int variable, struct arena *a)
{
    (void)v;
    return arena_print(a, "<%d>", variable);
}

static void requests_are_printed(void **state)
{
    (void)state;
    struct scenario *s = opened(HEAD "users: 3\n"
                                     "fields: {X-All: a, X-Both: of all}\n"
                                     "kinds:\n"
                                     "  buy:\n"
                                     "    steps:\n"
                                     "      - post: /buy?x=1\n"
                                     "        json: '{\"a\": 1}'\n"
                                     "        fields: {x-both: own}\n"
                                     "      - get: /o/${uuid}\n"
                                     "      - delete: /o\n"
                                     "        fields: {Host: other}\n");
    struct template_values values = { value };
    const struct scenario_step *steps = s->flows[0].steps;
    assert_bytes_equal(
        steps[0].fixed,
        BYTES("POST /buy?x=1 HTTP/1.1\r\nHost: shop.example:8080\r\nx-both: own\r\nX-All: a\r\n"
              "Content-Type: application/json\r\nContent-Length: 8\r\n\r\n{\"a\": 1}"));
    assert_null(steps[1].fixed.ptr);
    assert_bytes_equal(
        scenario_print(s, &steps[1], &values, BYTES("a=b"), &s->arena),
        BYTES("GET /o/%3C0%3E HTTP/1.1\r\nHost: shop.example:8080\r\nX-All: a\r\nX-Both: of all\r\nCookie: "
              "a=b\r\n\r\n"));
    assert_bytes_equal(steps[2].fixed,
                       BYTES("DELETE /o HTTP/1.1\r\nHost: other\r\nX-All: a\r\nX-Both: of all\r\n\r\n"));
    assert_int_equal(s->kinds_count, 3);
    assert_bytes_equal(s->kinds[1], BYTES("buy GET /o/${uuid}"));
    assert_true(!s->rate && curve_level(&s->curve, 1) == 3 && s->seconds == 60);
    scenario_close(s);
}

static void kinds_are_chosen_by_weight(void **state)
{
    (void)state;
    struct scenario *s =
        opened(HEAD "rate: 120/m\nkinds:\n  a: {weight: 70, steps: [GET /a]}\n"
                    "  b: {weight: 20, steps: [GET /b]}\n  c: {weight: 10, steps: [{think: 1s}, GET /b]}\n");
    unsigned seen[3] = { 0 };
    for (uint64_t i = 0; i < 1000; i++)
        seen[scenario_choose(s, i)]++;
    assert_true(seen[0] == 700 && seen[1] == 200 && seen[2] == 100);
    assert_true(s->rate && curve_level(&s->curve, 5) > 1.999 && curve_level(&s->curve, 5) < 2.001);
    assert_int_equal(s->kinds_count, 3);
    scenario_close(s);
}

static void variables_are_found(void **state)
{
    (void)state;
    write_file("people.csv", "name,mail\nAnn,a@x\nBob,b@x\n");
    struct scenario *s = opened(HEAD "users: 1\ndata: {people: people.csv random}\n"
                                     "before:\n  - post: /login\n    take: {token: header X-Token}\n"
                                     "kinds:\n  a:\n    steps:\n"
                                     "      - get: /${people.mail}/${random 5 7}/${token}\n"
                                     "        take: {id: json /id}\n"
                                     "      - get: /${id}\n");
    assert_int_equal(s->variables_count, 4);
    assert_int_equal(s->variables[0].kind, SCENARIO_DATA);
    assert_int_equal(s->variables[0].column, 1);
    assert_int_equal(s->data[0].order, DATA_RANDOM);
    assert_true(s->variables[1].kind == SCENARIO_RANDOM && s->variables[1].from == 5 &&
                s->variables[1].to == 7);
    assert_int_equal(s->variables[3].kind, SCENARIO_SLOT);
    assert_int_equal(s->slots_count, 2);
    assert_true(s->flows[0].steps[0].wants_body && !s->flows[0].steps[1].wants_body);
    scenario_close(s);
}

static void mistakes_name_their_place(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        unsigned line;
        const char *says;
    } cases[] = {
        { "users: 1\nkinds: {a: {steps: [GET /]}}\n", 0, "there is no target" },
        { "target: http://a/b\nusers: 1\nkinds: {a: {steps: [GET /]}}\n", 0, "has no path" },
        { HEAD "kinds: {a: {steps: [GET /]}}\n", 0, "one of users, rate and stages" },
        { HEAD "users: 1\nrate: 5/s\nkinds: {a: {steps: [GET /]}}\n", 0, "2 of them" },
        { HEAD "rate: 5\nkinds: {a: {steps: [GET /]}}\n", 0, "is no rate" },
        { HEAD "users: 1\nkinds: {}\n", 3, "at least one item" },
        { HEAD "users: 1\nkindz: {}\n", 3, "did you mean \"kinds\"" },
        { HEAD "users: 1\nkinds:\n  a:\n    steps:\n      - get: /\n      - get: /${nothing}\n", 7,
          "no variable \"nothing\"" },
        { HEAD "users: 1\nkinds:\n  a:\n    steps:\n      - get: /${later}\n      - get: /\n        take: "
               "{later: json /a}\n",
          6, "no variable \"later\"" },
        { HEAD "users: 1\nkinds:\n  a:\n    steps:\n      - get: nowhere\n", 6, "is no path" },
        { HEAD "users: 1\nkinds:\n  a:\n    steps:\n      - get: /\n        post: /\n", 6,
          "a step is one request" },
        { HEAD "users: 1\nkinds:\n  a:\n    steps:\n      - get: /\n        take: {x: xpath /a}\n", 6,
          "nothing that can be taken" },
        { HEAD "users: 1\nkinds:\n  a:\n    steps:\n      - get: /\n        expect: 2000\n", 6,
          "is no status" },
        { HEAD "users: 1\nkinds:\n  a:\n    steps:\n      - get: /\n        expect: {matches: '('}\n", 6,
          "" },
        { HEAD "users: 1\nkinds:\n  a:\n    steps:\n      - get: /\n        fields: {Content-Length: 3}\n", 6,
          "cannot be a header" },
        { HEAD "users: 1\ndata: {x: none.csv}\nkinds: {a: {steps: [GET /]}}\n", 3, "none.csv" },
        { HEAD "users: 1\ndata: {people: people.csv}\nkinds: {a: {steps: ['GET /${people.age}']}}\n", 4,
          "no column \"age\"" },
        { HEAD "stages: [{constant: 10/s for 1s}, {constant: 10 for 1s}]\nkinds: {a: {steps: [GET /]}}\n", 2,
          "one of them everywhere" },
        { HEAD "stages: [{burst: 3x for 1s}]\nkinds: {a: {steps: [GET /]}}\n", 2, "cannot be the first" },
        { HEAD "stages: [{ramp: 3x for 1s}]\nkinds: {a: {steps: [GET /]}}\n", 2, "" },
        { HEAD "stages: [{constant: fast for 1s}]\nkinds: {a: {steps: [GET /]}}\n", 2, "neither a rate" },
        { HEAD "users: 1\nkinds: {a: {steps: [{think: 3s to 1s}]}}\n", 3, "shorter time stands first" },
        { HEAD "users: 1\nkinds: {a: {steps: [{think: 3s}]}}\n", 0, "no request" },
    };
    write_file("people.csv", "name,mail\nAnn,a@x\n");
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++)
        wrong(cases[i].text, cases[i].line, cases[i].says);
}

static void stages_become_a_curve(void **state)
{
    (void)state;
    write_file("day.csv", "time,rate\n20:00,10\n20:00:10,30\n20:00:20,10\n");
    struct scenario *s = opened(HEAD "stages:\n"
                                     "  - constant: 100/s for 10s\n"
                                     "  - burst: 3x for 5s\n"
                                     "  - ramp: 0/s to 100/s over 10s\n"
                                     "  - steps: 60/m to 5/s in 5 steps over 5s\n"
                                     "  - sine: 0/s to 20/s every 5s for 10s\n"
                                     "  - normal: 100/s around 10s within 2s for 20s\n"
                                     "  - history: day.csv\n"
                                     "  - history: {file: day.csv, peak: 60/s}\n"
                                     "kinds: {a: {steps: [GET /]}}\n");
    /* 1000 + 1500 + 500 + 15 + 100 + 2 sqrt(2 pi) 100 + 400 + 800 */
    double all = 1000 + 1500 + 500 + 15 + 100 + 501.3 + 400 + 800;
    assert_true(s->rate && s->seconds == 100);
    assert_true(curve_count(&s->curve) > all - 1 && curve_count(&s->curve) < all + 1);
    assert_true(curve_level(&s->curve, 12) == 300);
    scenario_close(s);
    s = opened(
        HEAD "stages: [{ramp: 0 to 500 over 10s}, {constant: 500 for 10s}]\nkinds: {a: {steps: [GET /]}}\n");
    assert_true(!s->rate && curve_level(&s->curve, 15) > 499);
    scenario_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_printed),  cmocka_unit_test(kinds_are_chosen_by_weight),
        cmocka_unit_test(variables_are_found),   cmocka_unit_test(mistakes_name_their_place),
        cmocka_unit_test(stages_become_a_curve),
    };
    snprintf(folder, sizeof folder, "%s/scenario_test.XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    if (!mkdtemp(folder))
        return 1;
    snprintf(path, sizeof path, "%s/scenario.yaml", folder);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char file[128];
    snprintf(file, sizeof file, "%s/people.csv", folder);
    unlink(file);
    snprintf(file, sizeof file, "%s/day.csv", folder);
    unlink(file);
    rmdir(folder);
    return failed;
}
