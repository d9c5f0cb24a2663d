// A real OpenID Connect provider (npm oidc-provider) on 127.0.0.1, for tests and trials; not for production.
//
// Environment: PORT, ISSUER (default http://127.0.0.1:PORT), LISTEN (default 127.0.0.1), AUDIENCE (default postern),
// LIFETIME in seconds (default 300).
//
// Clients, by client_credentials at /token; each gets a JWT access token:
//   agent-rs / s3cret-rs      groups analysts, agents   RS256
//   agent-es / s3cret-es      groups admins             ES256
//   auditor / s3cret-auditor  groups auditor            RS256
//   agent-none / s3cret-none  no groups                 RS256
//
// What only a test may do, by POST:
//   /_rotate            new keys; signs with them, keeps publishing the old ones. /_rotate?drop=1 forgets the old ones
//   /_break?mode=       jwks500 | jwksslow | redirect | other-issuer | ok: how the key set and discovery are answered
//   /_sign              body {"header": {"alg": ...}, "claims": {...}}: any token, signed with the present keys
//   /_count             how often the key set was asked for
import http from 'node:http'
import { Provider } from 'oidc-provider'
import * as jose from 'jose'

const port = Number(process.env.PORT || 55480)
const listen = process.env.LISTEN || '127.0.0.1'
const issuer = process.env.ISSUER || `http://127.0.0.1:${port}`
const audience = process.env.AUDIENCE || 'postern'
const lifetime = Number(process.env.LIFETIME || 300)
const clients = {
  'agent-rs': { secret: 's3cret-rs', groups: ['analysts', 'agents'], alg: 'RS256' },
  'agent-es': { secret: 's3cret-es', groups: ['admins'], alg: 'ES256' },
  auditor: { secret: 's3cret-auditor', groups: ['auditor'], alg: 'RS256' },
  'agent-none': { secret: 's3cret-none', groups: undefined, alg: 'RS256' },
}

let generation = 0
let keys = []
let mode = 'ok'
let asked = 0
let handler

const makeKeys = async () => {
  generation++
  const made = []
  for (const alg of ['RS256', 'ES256']) {
    const { privateKey } = await jose.generateKeyPair(alg, { extractable: true })
    made.push({ ...(await jose.exportJWK(privateKey)), kid: `${alg.toLowerCase()}-${generation}`, alg, use: 'sig' })
  }
  return made
}

const build = () => {
  const provider = new Provider(issuer, {
    jwks: { keys },
    clients: Object.entries(clients).map(([id, client]) => ({
      client_id: id, client_secret: client.secret, grant_types: ['client_credentials'], redirect_uris: [],
      response_types: [], token_endpoint_auth_method: 'client_secret_basic',
    })),
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      introspection: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => `urn:${audience}`,
        useGrantedResource: () => true,
        getResourceServerInfo: (context, resource, client) => ({
          scope: 'db:read db:write', audience, accessTokenTTL: lifetime, accessTokenFormat: 'jwt',
          jwt: { sign: { alg: clients[client.clientId].alg } },
        }),
      },
    },
    extraTokenClaims: (context, token) => {
      const groups = clients[token.clientId]?.groups
      return { ...(groups && { groups }), agent: token.clientId }
    },
    ttl: { ClientCredentials: () => lifetime },
  })
  provider.on('server_error', (context, error) => console.error('server_error', error))
  handler = provider.callback()
}

const body = async request => {
  const parts = []
  for await (const part of request) parts.push(part)
  return JSON.parse(Buffer.concat(parts).toString() || '{}')
}

const admin = {
  '/_rotate': async url => {
    const fresh = await makeKeys()
    keys = [...fresh, ...(url.searchParams.get('drop') ? [] : keys)]
    build()
    return { kids: keys.map(key => key.kid) }
  },
  '/_break': async url => ({ mode: (mode = url.searchParams.get('mode')) }),
  '/_sign': async (url, request) => {
    const { header, claims } = await body(request)
    const key = keys.find(one => one.alg === header.alg)
    const signed = new jose.SignJWT(claims).setProtectedHeader({ kid: key.kid, ...header })
    return { token: await signed.sign(await jose.importJWK(key, header.alg)) }
  },
  '/_count': async () => ({ asked }),
}

keys = await makeKeys()
build()
const server = http.createServer(async (request, response) => {
  const url = new URL(request.url, issuer)
  if (request.method === 'POST' && admin[url.pathname]) {
    try {
      response.end(JSON.stringify(await admin[url.pathname](url, request)) + '\n')
    } catch (error) {
      response.statusCode = 500
      response.end(String(error))
    }
    return
  }
  if (url.pathname === '/jwks') {
    asked++
    if (mode === 'jwks500') { response.statusCode = 500; response.end(); return }
    if (mode === 'jwksslow') return
    if (mode === 'redirect') { response.writeHead(302, { location: '/elsewhere' }); response.end(); return }
  }
  if (mode === 'other-issuer' && url.pathname.startsWith('/.well-known/')) {
    response.end(JSON.stringify({ issuer: 'https://another.example', jwks_uri: `${issuer}/jwks` }))
    return
  }
  handler(request, response)
})
server.listen(port, listen, () => console.log(`${issuer} ready`))
for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => process.exit(0))
