/* generation_mistakes_test: wrong texts, and what a person is told of each. The inside of an array in
 * generation_test.c. */
#pragma once
/* clang-format off */
{
        "",
        "weir.yaml:1:1: \"listen\" is missing in weir"
},
{
        "listen: []\n"
        "routes: [{match: /, service: a}]\n"
        "services: {a: {servers: 10.0.0.1:80}}\n",
        "weir.yaml:1:9: \"listen\" needs at least one item"
},
{
        "routes: [{match: /, service: a}]\n"
        "services: {a: {servers: 10.0.0.1:80}}\n",
        "weir.yaml:1:1: \"listen\" is missing in weir"
},
{
        "listen: here\n",
        "weir.yaml:1:9: here is not an address (like 10.0.0.1:80, [::1]:80, :8080, unix:/path)"
},
{
        "listen: :99999\n"
        "routes: [{match: /, service: a}]\n"
        "services: {a: {servers: 10.0.0.1:80}}\n",
        "weir.yaml:1:9: :99999 is not an address (like 10.0.0.1:80, [::1]:80, :8080, unix:/path)"
},
{
        "listen: {address: \":1\", baklog: 3}\n",
        "weir.yaml:1:25: unknown setting \"baklog\" in listen; did you mean \"backlog\"?"
},
{
        "listen: {address: \":1\", congestion: none-such}\n"
        "routes: [{match: /, service: a}]\n"
        "services: {a: {servers: 10.0.0.1:80}}\n",
        "weir.yaml:1:9: this kernel has no congestion control \"none-such\" (see net.ipv4.tcp_available_congestion_control)"
},
{
        "listen: :1\n"
        "workers: 0\n",
        "weir.yaml:2:10: 0 is out of bounds: 1 to 256"
},
{
        "listen: :1\n"
        "workers: many\n",
        "weir.yaml:2:10: many is not a whole number (like 42)"
},
{
        "listen: :1\n"
        "client: {head_bytes_max: 1m}\n",
        "weir.yaml:2:26: 1m is out of bounds: 256 to 64k"
},
{
        "listen: :1\n"
        "routes:\n"
        "  - {match: /, service: a, priority: urgent}\n"
        "services: {a: {servers: 10.0.0.1:80}}\n",
        "weir.yaml:3:38: urgent is not one of low, normal, high"
},
{
        "listen: :1\n"
        "routes:\n"
        "  - {match: api, service: a}\n"
        "services: {a: {servers: 10.0.0.1:80}}\n",
        "weir.yaml:3:13: match: \"api\" has no path: expected host/path, /path, or either with a * at the end"
},
{
        "listen: :1\n"
        "routes:\n"
        "  - {match: /a*b, service: a}\n"
        "services: {a: {servers: 10.0.0.1:80}}\n",
        "weir.yaml:3:13: match: in \"/a*b\" the * is not at the end"
},
{
        "listen: :1\n"
        "routes:\n"
        "  - {match: /a, service: b}\n"
        "services: {a: {servers: 10.0.0.1:80}}\n",
        "weir.yaml:3:26: there is no \"b\" in \"services\""
},
{
        "listen: :1\n"
        "routes:\n"
        "  - {match: /a}\n"
        "services: {a: {servers: 10.0.0.1:80}}\n",
        "weir.yaml:3:5: \"service\" is missing in route, and no filter of it answers instead"
},
{
        "listen: :1\n"
        "routes:\n"
        "  - {service: a}\n"
        "services: {a: {servers: 10.0.0.1:80}}\n",
        "weir.yaml:3:5: \"match\" is missing in route"
},
{
        "listen: :1\n"
        "routes:\n"
        "  - {match: /a, service: a, rate_limt: 5/s per ip}\n"
        "services: {a: {servers: 10.0.0.1:80}}\n",
        "weir.yaml:3:29: unknown setting \"rate_limt\" in route; did you mean \"rate_limit\"?"
},
{
        "listen: :1\n"
        "routes:\n"
        "  - {match: /a, service: a, rate_limit: many}\n"
        "services: {a: {servers: 10.0.0.1:80}}\n",
        "weir.yaml:3:41: many is not a rate (like 50/s, 1000/m, 10/h)"
},
{
        "listen: :1\n"
        "routes:\n"
        "  - {match: /a, service: a}\n"
        "  - {match: /b, service: a}\n"
        "  - {match: /a, service: a}\n"
        "services: {a: {servers: 10.0.0.1:80}}\n",
        "weir.yaml:5:13: match: \"/a\" stands twice, first in line 3"
},
{
        "listen: :1\n"
        "routes: [{match: /, service: a}]\n"
        "services: {}\n",
        "weir.yaml:2:30: there is no \"a\" in \"services\""
},
{
        "listen: :1\n"
        "routes: [{match: /, service: a}]\n"
        "services: {a: {}}\n",
        "weir.yaml:3:15: \"servers\" is missing in service"
},
{
        "listen: :1\n"
        "routes: [{match: /, service: a}]\n"
        "services: {a: {servers: []}}\n",
        "weir.yaml:3:25: \"servers\" needs at least one item"
},
{
        "listen: :1\n"
        "routes: [{match: /, service: a}]\n"
        "services:\n"
        "  a: {servers: \":80\"}\n",
        "weir.yaml:4:6: \":80\" names no server: an address or a name is needed before the port"
},
{
        "listen: :1\n"
        "routes: [{match: /, service: a}]\n"
        "services:\n"
        "  a: {servers: 10.0.0.1}\n",
        "weir.yaml:4:6: \"10.0.0.1\" is not an address: expected like 10.0.0.1:80, [::1]:80, name:80 or unix:/path"
},
{
        "listen: :1\n"
        "routes: [{match: /, service: a}]\n"
        "services:\n"
        "  a: {servers: [10.0.0.1:80, 10.0.0.2:80, 10.0.0.1:80]}\n",
        "weir.yaml:4:6: server \"10.0.0.1:80\" stands twice in one service"
},
{
        "listen: :1\n"
        "routes: [{match: /, service: a}]\n"
        "services:\n"
        "  a: {servers: {address: 10.0.0.1:80, weight: 0}}\n",
        "weir.yaml:4:47: 0 is out of bounds: 1 to 1000"
},
{
        "listen: :1\n"
        "routes: [{match: /, service: a}]\n"
        "services:\n"
        "  a: {servers: 10.0.0.1:80, balance: robin}\n",
        "weir.yaml:4:38: \"robin\" is no balance; there are: round_robin, random, least_request, peak_ewma, hash, maglev, reported_load, zone"
},
{
        "listen: :1\n"
        "routes: [{match: /, service: a}]\n"
        "services:\n"
        "  a: {servers: 10.0.0.1:80, upstream: pipelind}\n",
        "weir.yaml:4:39: pipelind is not one of keepalive, pipelined, close; did you mean \"pipelined\"?"
},
{
        "listen: :1\n"
        "routes: [{match: /, service: a}]\n"
        "services:\n"
        "  a: {servers: 10.0.0.1:80, tries_max: 5}\n",
        "weir.yaml:4:40: 5 is out of bounds: 1 to 4"
},
{
        "listen: :1\n"
        "routes: [{match: /, service: a}]\n"
        "services:\n"
        "  a: {servers: 10.0.0.1:80, timeout: soon}\n",
        "weir.yaml:4:38: soon is not a duration (like 500ms, 10s, 2m, 1h)"
},
{
        "listen: :1\n"
        "routes: [{match: /, service: a}]\n"
        "services:\n"
        "  a: {servers: 10.0.0.1:80, congestion: none-such}\n",
        "weir.yaml:4:6: this kernel has no congestion control \"none-such\" (see net.ipv4.tcp_available_congestion_control)"
},
{
        "listen: :1\n"
        "routes: [{match: /, service: a}]\n"
        "services:\n"
        "  a: {servers: 10.0.0.1:80}\n"
        "  a: {servers: 10.0.0.1:81}\n",
        "weir.yaml:5:3: \"a\" is set twice; it stood already in line 4"
},
{
        "listen: :1\n"
        "routes: [{match: shop:80/x, service: a}]\n"
        "services: {a: {servers: 10.0.0.1:80}}\n",
        "weir.yaml:2:18: match: in \"shop:80/x\" the host has a port: hosts are compared without"
},
{
        "listen: :1\n"
        "routes: [{match: /, service: nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn}]\n"
        "services:\n"
        "  nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn: {servers: 10.0.0.1:80}\n",
        "weir.yaml:4:305: the name of a service is at most 200 bytes long"
},
{
        "listen: [\n",
        "weir.yaml:2:1: not YAML: did not find expected node content while parsing a flow node"
},
{
        "listen: :1\n"
        "listn: :2\n",
        "weir.yaml:2:1: unknown setting \"listn\" in weir; did you mean \"listen\"?"
},
