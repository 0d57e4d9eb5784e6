import { useNavigate } from '@tanstack/react-router'
import { useEffect } from 'react'
import { hasLeft, useViewer, type Viewer } from './auth'

/** Who is logged in; when nobody is any more, the login page, which leads back unless they logged out. */
export function useLogin(): Viewer | null {
  const viewer = useViewer()
  const navigate = useNavigate()
  useEffect(() => {
    if (viewer) return
    const search = hasLeft() ? {} : { next: location.pathname + location.search }
    void navigate({ to: '/login', search })
  }, [viewer, navigate])
  return viewer
}
