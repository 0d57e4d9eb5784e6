import react from '@vitejs/plugin-react'
import { defineConfig } from 'vitest/config'

const manager = 'http://127.0.0.1:8080'

export default defineConfig({
  plugins: [react()],
  build: {
    outDir: 'dist',
    assetsDir: 'assets',
    target: 'es2022',
    // `light-dark()` as it is: lowering it loses the scheme that the kit sets at run time.
    cssTarget: ['chrome123', 'firefox120', 'safari17.5'],
    rollupOptions: { input: { index: 'index.html', graphiql: 'graphiql.html' } },
    chunkSizeWarningLimit: 4000,
  },
  server: {
    proxy: {
      '/graphql': { target: manager, ws: true },
      '/terminals': { target: manager, ws: true },
    },
  },
  test: { environment: 'jsdom', include: ['src/**/*.test.{ts,tsx}'] },
})
