import { Center, Loader } from '@mantine/core'
import {
  createRootRoute,
  createRoute,
  createRouter,
  lazyRouteComponent,
  Outlet,
  redirect,
} from '@tanstack/react-router'
import { currentViewer } from '../shared/auth'
import type { ListSearch } from '../shared/search'

const root = createRootRoute({ component: Outlet })

const login = createRoute({
  getParentRoute: () => root,
  path: '/login',
  validateSearch: (search): { next?: string } =>
    typeof search.next === 'string' ? { next: search.next } : {},
  component: lazyRouteComponent(() => import('../features/access/LoginRoute')),
})

const welcome = createRoute({
  getParentRoute: () => root,
  path: '/welcome',
  component: lazyRouteComponent(() => import('../features/access/WelcomeRoute')),
})

const verify = createRoute({
  getParentRoute: () => root,
  path: '/verify',
  component: lazyRouteComponent(() => import('../features/access/VerifyRoute')),
})

const signUp = createRoute({
  getParentRoute: () => root,
  path: '/signup',
  component: lazyRouteComponent(() => import('../features/access/SignUpRoute')),
})

const forgot = createRoute({
  getParentRoute: () => root,
  path: '/forgot',
  component: lazyRouteComponent(() => import('../features/access/ForgotRoute')),
})

async function mustBeLoggedIn({ location }: { location: { href: string } }) {
  if (!(await currentViewer())) throw redirect({ to: '/login', search: { next: location.href } })
}

const terminal = createRoute({
  getParentRoute: () => root,
  path: '/sessions/$id/terminal',
  beforeLoad: mustBeLoggedIn,
  component: lazyRouteComponent(() => import('../features/terminal/TerminalRoute')),
})

const shell = createRoute({
  getParentRoute: () => root,
  id: 'shell',
  beforeLoad: mustBeLoggedIn,
  component: lazyRouteComponent(() => import('./Shell')),
})

const home = createRoute({
  getParentRoute: () => shell,
  path: '/',
  component: lazyRouteComponent(() => import('../features/home/HomeRoute')),
})

const sessions = createRoute({
  getParentRoute: () => shell,
  path: '/sessions',
  validateSearch: (search): ListSearch => ({
    ...(['running', 'finished', 'other'].includes(String(search.tab))
      ? { tab: search.tab as ListSearch['tab'] }
      : {}),
    ...(typeof search.search === 'string' && search.search ? { search: search.search } : {}),
  }),
  component: lazyRouteComponent(() => import('../features/sessions/SessionListRoute')),
})

const launcher = createRoute({
  getParentRoute: () => shell,
  path: '/launch',
  validateSearch: (search): { from?: string } =>
    typeof search.from === 'string' ? { from: search.from } : {},
  component: lazyRouteComponent(() => import('../features/launcher/LauncherRoute')),
})

const session = createRoute({
  getParentRoute: () => shell,
  path: '/sessions/$id',
  component: lazyRouteComponent(() => import('../features/sessions/SessionRoute')),
})

const agents = createRoute({
  getParentRoute: () => shell,
  path: '/agents',
  component: lazyRouteComponent(() => import('../features/agents/AgentsRoute')),
})

export const router = createRouter({
  routeTree: root.addChildren([
    login,
    welcome,
    verify,
    signUp,
    forgot,
    terminal,
    shell.addChildren([home, sessions, launcher, session, agents]),
  ]),
  defaultPreload: 'intent',
  defaultPendingComponent: () => (
    <Center mih="60dvh">
      <Loader />
    </Center>
  ),
  defaultNotFoundComponent: lazyRouteComponent(() => import('./NotFound')),
})

declare module '@tanstack/react-router' {
  interface Register {
    router: typeof router
  }
}
