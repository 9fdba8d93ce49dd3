// Run by node_redis_test.py in a folder where redis (4, and 5 as redis5), connect-redis and express-session are
// installed:
//     node node_redis.mjs PORT        prints "done" when all is as it should be
import assert from "node:assert/strict"
import http from "node:http"
import { createRequire } from "node:module"

const from = createRequire(process.cwd() + "/")
const redis = { 4: from("redis"), 5: from("redis5") }
const { RedisStore } = from("connect-redis")
const session = from("express-session")
const url = `redis://127.0.0.1:${process.argv[2]}`

async function client(version, options = {}) {
  const c = redis[version].createClient({ url, ...options })
  c.on("error", e => { throw e })
  await c.connect()
  return c
}

async function commands(c) {
  assert.equal(await c.ping(), "PONG")
  await c.del(["a", "b", "h", "m"])
  await c.set("a", "1")
  assert.equal(await c.get("a"), "1")
  assert.equal(await c.get("nothing"), null)
  assert.equal(await c.incrBy("a", 41), 42)
  assert.equal(await c.set("a", "x", { NX: true, EX: 60 }), null)
  await c.set("b", "ü\r\n\0", { PX: 60000 })
  assert.equal(await c.get("b"), "ü\r\n\0")
  const left = await c.ttl("b")
  assert.ok(left > 0 && left <= 60)
  assert.equal(await c.hSet("h", { user: "ann", cart: "3" }), 2)
  assert.deepEqual({ ...(await c.hGetAll("h")) }, { user: "ann", cart: "3" })
  assert.equal(await c.hIncrBy("h", "cart", 2), 5)
  assert.deepEqual(await c.mGet(["a", "nothing"]), ["42", null])
  await assert.rejects(c.incr("b"), /not an integer/)
  await assert.rejects(c.sendCommand(["NOSUCHCOMMAND"]), /unknown command/)
  // pipelined: all of it in one write
  const many = await Promise.all(Array.from({ length: 500 }, (_, i) => c.set(`many:${i}`, String(i)).then(() => c.get(`many:${i}`))))
  assert.deepEqual(many, Array.from({ length: 500 }, (_, i) => String(i)))
  assert.deepEqual(await c.multi().set("m", "1").incr("m").get("m").exec(), ["OK", 2, "2"])
  const seen = new Set()
  for await (const keys of c.scanIterator({ MATCH: "many:*", COUNT: 50 })) for (const key of [keys].flat()) seen.add(key)
  assert.equal(seen.size, 500)
  assert.equal(await c.del([...seen]), 500)
}

async function watching(c, other) {
  await c.watch("m")
  await other.set("m", "7")
  await assert.rejects(c.multi().set("m", "8").exec())
  assert.equal(await c.get("m"), "7")
}

const call = (store, name, ...args) =>
  new Promise((done, failed) => store[name](...args, (e, value) => (e ? failed(e) : done(value))))

async function store(c) {
  const s = new RedisStore({ client: c, prefix: "sess:", ttl: 600 })
  const one = { cookie: { originalMaxAge: null }, user: "ann", cart: [1, 2, { three: "ü" }] }
  await call(s, "set", "1", one)
  assert.deepEqual(await call(s, "get", "1"), one)
  assert.equal((await call(s, "get", "2")) ?? null, null)
  const left = await c.ttl("sess:1")
  assert.ok(left > 590 && left <= 600)
  await c.expire("sess:1", 100)
  await call(s, "touch", "1", one)
  assert.ok(await c.ttl("sess:1") > 590)
  for (let i = 2; i <= 250; i++) await call(s, "set", String(i), { ...one, user: `u${i}` })
  assert.equal(await call(s, "length"), 250)
  assert.equal((await call(s, "ids")).length, 250)
  assert.equal(new Set((await call(s, "all")).map(x => x.user)).size, 250)
  await call(s, "destroy", "1")
  assert.equal((await call(s, "get", "1")) ?? null, null)
  await call(s, "clear")
  assert.equal(await call(s, "length"), 0)
}

async function application(c) {
  const middle = session({ store: new RedisStore({ client: c, prefix: "web:" }), secret: "s", resave: false, saveUninitialized: false })
  const server = http.createServer((q, a) => middle(q, a, e => {
    if (e) throw e
    if (q.url === "/out") return q.session.destroy(() => a.end("out"))
    if (q.url === "/login") return q.session.regenerate(() => { q.session.user = "ann"; a.end("in") })
    q.session.views = (q.session.views ?? 0) + 1
    a.end(`${q.session.user ?? "nobody"} ${q.session.views}`)
  }))
  await new Promise(done => server.listen(0, "127.0.0.1", done))
  let cookie = ""
  const get = async path => {
    const answer = await fetch(`http://127.0.0.1:${server.address().port}${path}`, { headers: { cookie } })
    cookie = answer.headers.get("set-cookie")?.split(";")[0] ?? cookie
    return answer.text()
  }
  assert.equal(await get("/"), "nobody 1")
  assert.equal(await get("/"), "nobody 2")
  const before = cookie
  assert.equal(await get("/login"), "in")
  assert.notEqual(cookie, before)
  assert.equal(await get("/"), "ann 1")
  assert.equal(await get("/out"), "out")
  assert.equal(await get("/"), "nobody 1")
  server.closeAllConnections()
  await new Promise(done => server.close(done))
}

// connect-redis 8 goes with redis 4; redis 5 speaks RESP3 too
for (const [version, options] of [[4, {}], [5, { RESP: 2 }], [5, { RESP: 3 }]]) {
  const c = await client(version, options), other = await client(version, options)
  await commands(c)
  await watching(c, other)
  if (version === 4) {
    await store(c)
    await application(c)
  }
  await c.quit()
  await other.quit()
}
console.log("done")
