// The audits of the GraphQL-over-HTTP specification, by the reference implementation; prints them as JSON.
import { createRequire } from 'node:module'

const require = createRequire(new URL('../../webui/package.json', import.meta.url))
const { auditServer } = require('graphql-http')

const results = await auditServer({ url: process.argv[2], fetchFn: fetch })
console.log(JSON.stringify(results.map(({ id, name, status, reason }) => ({ id, name, status, reason }))))
