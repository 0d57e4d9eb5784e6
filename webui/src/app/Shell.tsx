import {
  Alert,
  AppShell,
  Burger,
  Button,
  Group,
  Menu,
  NavLink,
  Select,
  Text,
  UnstyledButton,
  useMantineColorScheme,
  VisuallyHidden,
} from '@mantine/core'
import { useDisclosure } from '@mantine/hooks'
import {
  IconBrandGraphql,
  IconChevronDown,
  IconHome2,
  IconLogout,
  IconPassword,
  IconPlus,
  IconServer2,
  IconTerminal2,
  IconWifiOff,
} from '@tabler/icons-react'
import { Link, Outlet, useNavigate, useRouterState } from '@tanstack/react-router'
import { useEffect } from 'react'
import { useTranslation } from 'react-i18next'
import { Provider, useQuery } from 'urql'
import { ChangePasswordDialog } from '../features/access/ChangePasswordDialog'
import { graphql } from '../gql'
import { logout, useViewer, type Viewer } from '../shared/auth'
import { client } from '../shared/client'
import { useConnection } from '../shared/connection'
import { setLanguage } from '../shared/i18n/i18n'
import { setScope, useScope } from '../shared/scope'

const SCOPE = graphql(`
  query Scope {
    viewer {
      groups {
        id
        name
      }
      resourceGroups {
        id
        name
      }
    }
  }
`)

export default function Shell() {
  const viewer = useViewer()
  const navigate = useNavigate()
  useEffect(() => {
    if (!viewer) void navigate({ to: '/login', search: { next: location.pathname + location.search } })
  }, [viewer, navigate])
  if (!viewer) return null
  return (
    <Provider value={client} key={viewer.id}>
      <Frame viewer={viewer} />
    </Provider>
  )
}

function Frame({ viewer }: { viewer: Viewer }) {
  const { t } = useTranslation()
  const [opened, { toggle, close }] = useDisclosure()
  const path = useRouterState({ select: (state) => state.location.pathname })
  const places = [
    { to: '/', label: t('app.home'), icon: IconHome2, active: path === '/' },
    { to: '/sessions', label: t('app.sessions'), icon: IconTerminal2, active: path.startsWith('/sessions') },
    ...(viewer.permissions.includes('read:agent')
      ? [{ to: '/agents', label: t('app.agents'), icon: IconServer2, active: path.startsWith('/agents') }]
      : []),
  ]
  return (
    <AppShell
      header={{ height: 60 }}
      navbar={{ width: 216, breakpoint: 'sm', collapsed: { mobile: !opened } }}
      padding="lg"
    >
      <AppShell.Header px="md">
        <Group h="100%" justify="space-between" wrap="nowrap">
          <Group gap="sm" wrap="nowrap">
            <Burger opened={opened} onClick={toggle} hiddenFrom="sm" size="sm" aria-label={t('app.menu')} />
            <Link to="/" className="plain">
              <Group gap={8} wrap="nowrap">
                <img src="/icon.svg" alt="" width={28} height={28} />
                <Text fw={700} size="lg">
                  Berth
                </Text>
              </Group>
            </Link>
          </Group>
          <Group gap="sm" wrap="nowrap">
            <ScopeSelectors />
            <AccountMenu viewer={viewer} />
          </Group>
        </Group>
      </AppShell.Header>
      <AppShell.Navbar p="sm">
        <Button
          component={Link}
          to="/launch"
          leftSection={<IconPlus size={16} aria-hidden />}
          fullWidth
          mb="sm"
          onClick={close}
        >
          {t('app.start')}
        </Button>
        <nav aria-label={t('app.menu')}>
          {places.map((place) => (
            <NavLink
              key={place.to}
              component={Link}
              to={place.to}
              label={place.label}
              leftSection={<place.icon size={18} stroke={1.7} aria-hidden />}
              active={place.active}
              aria-current={place.active ? 'page' : undefined}
              onClick={close}
              style={{ borderRadius: 8 }}
            />
          ))}
        </nav>
        <NavLink
          component="a"
          href="/graphql"
          target="_blank"
          label={t('app.playground')}
          leftSection={<IconBrandGraphql size={18} stroke={1.7} aria-hidden />}
          mt="auto"
          style={{ borderRadius: 8 }}
        />
      </AppShell.Navbar>
      <AppShell.Main>
        <ConnectionBanner />
        <div className="page">
          <Outlet />
        </div>
      </AppShell.Main>
      <ChangePasswordDialog opened={viewer.mustChangePassword} onClose={() => undefined} must />
    </AppShell>
  )
}

function ScopeSelectors() {
  const { t } = useTranslation()
  const scope = useScope()
  const [{ data }] = useQuery({ query: SCOPE })
  const groups = data?.viewer?.groups
  const resourceGroups = data?.viewer?.resourceGroups
  useEffect(() => {
    if (groups && !groups.some((group) => group.id === scope.groupId))
      setScope({ groupId: groups[0]?.id ?? null })
  }, [groups, scope.groupId])
  useEffect(() => {
    if (resourceGroups && !resourceGroups.some((group) => group.id === scope.resourceGroupId)) {
      setScope({ resourceGroupId: resourceGroups[0]?.id ?? null })
    }
  }, [resourceGroups, scope.resourceGroupId])
  return (
    <Group gap="xs" visibleFrom="sm" wrap="nowrap">
      <Select
        size="xs"
        w={150}
        aria-label={t('app.project')}
        data={(groups ?? []).map((group) => ({ value: group.id, label: group.name }))}
        value={scope.groupId}
        onChange={(groupId) => setScope({ groupId })}
        allowDeselect={false}
      />
      <Select
        size="xs"
        w={150}
        aria-label={t('app.resourceGroup')}
        data={(resourceGroups ?? []).map((group) => ({ value: group.id, label: group.name }))}
        value={scope.resourceGroupId}
        onChange={(resourceGroupId) => setScope({ resourceGroupId })}
        allowDeselect={false}
      />
    </Group>
  )
}

function AccountMenu({ viewer }: { viewer: Viewer }) {
  const { t, i18n } = useTranslation()
  const { colorScheme, setColorScheme } = useMantineColorScheme()
  const [changing, change] = useDisclosure()
  return (
    <>
      <Menu position="bottom-end" width={230} withinPortal>
        <Menu.Target>
          <UnstyledButton aria-label={`${t('app.account')}: ${viewer.name}`} px="xs" py={6}>
            <Group gap={6} wrap="nowrap">
              <Text size="sm" fw={500} visibleFrom="xs">
                {viewer.name}
              </Text>
              <IconChevronDown size={15} aria-hidden />
            </Group>
          </UnstyledButton>
        </Menu.Target>
        <Menu.Dropdown>
          <Menu.Label>{viewer.email}</Menu.Label>
          <Menu.Item leftSection={<IconPassword size={16} aria-hidden />} onClick={change.open}>
            {t('login.change')}
          </Menu.Item>
          <Menu.Divider />
          <Menu.Label>{t('app.language')}</Menu.Label>
          <Menu.Item onClick={() => setLanguage('en')} fw={i18n.language === 'en' ? 700 : 400} lang="en">
            English
          </Menu.Item>
          <Menu.Item onClick={() => setLanguage('ko')} fw={i18n.language === 'ko' ? 700 : 400} lang="ko">
            한국어
          </Menu.Item>
          <Menu.Label>{t('app.theme')}</Menu.Label>
          {(['light', 'dark', 'auto'] as const).map((scheme) => (
            <Menu.Item
              key={scheme}
              onClick={() => setColorScheme(scheme)}
              fw={colorScheme === scheme ? 700 : 400}
            >
              {t(`app.${scheme}`)}
            </Menu.Item>
          ))}
          <Menu.Divider />
          <Menu.Item leftSection={<IconLogout size={16} aria-hidden />} onClick={() => void logout()}>
            {t('app.logout')}
          </Menu.Item>
        </Menu.Dropdown>
      </Menu>
      <ChangePasswordDialog opened={changing} onClose={change.close} />
    </>
  )
}

function ConnectionBanner() {
  const { t } = useTranslation()
  const connection = useConnection()
  return (
    <div role="status" aria-live="polite">
      {connection === 'lost' ? (
        <Alert color="orange" icon={<IconWifiOff size={18} aria-hidden />} mb="sm">
          {t('app.lost')}
        </Alert>
      ) : (
        <VisuallyHidden>{connection === 'open' ? '' : t('app.loading')}</VisuallyHidden>
      )}
    </div>
  )
}
