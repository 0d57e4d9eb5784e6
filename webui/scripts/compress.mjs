// Lays .br and .gz beside each text asset, and the manifest of trusted documents, so that the manager compresses nothing.
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { brotliCompressSync, constants, gzipSync } from 'node:zlib'

const dist = new URL('../dist/', import.meta.url).pathname
const documents = new URL('../src/gql/persisted-documents.json', import.meta.url).pathname
writeFileSync(join(dist, 'operations.json'), readFileSync(documents))

for (const file of readdirSync(dist, { recursive: true })) {
  const path = join(dist, String(file))
  if (!statSync(path).isFile() || !/\.(js|css|html|svg|json|txt|wasm)$/.test(path)) continue
  const content = readFileSync(path)
  if (content.length < 1024) continue
  const quality = { params: { [constants.BROTLI_PARAM_QUALITY]: content.length > 500_000 ? 9 : 11 } }
  writeFileSync(`${path}.br`, brotliCompressSync(content, quality))
  writeFileSync(`${path}.gz`, gzipSync(content, { level: 9 }))
}
