import '@mantine/core/styles.css'
import './app/app.css'
import { createTheme, MantineProvider } from '@mantine/core'
import { RouterProvider } from '@tanstack/react-router'
import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { router } from './app/router'
import './shared/i18n/i18n'

const theme = createTheme({
  primaryColor: 'cyan',
  primaryShade: 9,
  // Blue-black instead of the kit's grey, down to the terminal's own background.
  colors: {
    dark: [
      '#d8dee6',
      '#b7c0ca',
      '#94a0ac',
      '#71808e',
      '#3b4855',
      '#2a3540',
      '#1b232c',
      '#141a21',
      '#10161d',
      '#0a0e13',
    ],
  },
  defaultRadius: 'md',
  cursorType: 'pointer',
  respectReducedMotion: true,
  fontFamily:
    'Inter, ui-sans-serif, system-ui, -apple-system, "Segoe UI", "Apple SD Gothic Neo", "Noto Sans KR", sans-serif',
  headings: { fontWeight: '650' },
})

const root = document.getElementById('root')
if (root) {
  createRoot(root).render(
    <StrictMode>
      <MantineProvider theme={theme} defaultColorScheme="auto">
        <RouterProvider router={router} />
      </MantineProvider>
    </StrictMode>,
  )
}
