import { Alert, Center, Loader, Stack, Tabs } from '@mantine/core'
import { IconMapQuestion, IconPlugConnectedX } from '@tabler/icons-react'
import { useParams } from '@tanstack/react-router'
import { lazy, Suspense, useState } from 'react'
import { useTranslation } from 'react-i18next'
import { useQuery } from 'urql'
import { Empty } from '../../shared/Empty'
import { Failure } from '../../shared/Failure'
import { outcome } from '../../shared/outcome'
import { useSessionNews } from '../../shared/sessionStream'
import { usePageTitle } from '../../shared/usePageTitle'
import { DETAILS } from './documents'
import { KernelTable } from './KernelTable'
import { Logs } from './Logs'
import { OutcomeAlert } from './OutcomeAlert'
import { Phases } from './Phases'
import { SessionFacts } from './SessionFacts'
import { SessionHeader } from './SessionHeader'
import { SessionTimeline } from './SessionTimeline'
import { TerminateDialog } from './TerminateDialog'

const Charts = lazy(() => import('./Charts'))
const LAUNCHING = ['PENDING', 'SCHEDULED', 'PREPARING', 'PULLING', 'PREPARED', 'CREATING']

export default function SessionRoute() {
  const { t } = useTranslation()
  const { id } = useParams({ strict: false }) as { id: string }
  const [ending, setEnding] = useState(false)
  const [{ data, fetching, error }, reload] = useQuery({
    query: DETAILS,
    variables: { id },
    requestPolicy: 'cache-and-network',
  })
  useSessionNews(() => reload({ requestPolicy: 'network-only' }), id)
  const session = data?.node && 'status' in data.node ? data.node : null
  usePageTitle(session?.name)

  if (!session) {
    if (fetching) {
      return (
        <Center mih={300}>
          <Loader />
        </Center>
      )
    }
    if (error) return <Failure error={error} retry={() => reload({ requestPolicy: 'network-only' })} />
    return <Empty icon={IconMapQuestion} title={t('app.notFound')} hint={t('app.notFoundHint')} />
  }
  const launching = LAUNCHING.includes(session.status)
  return (
    <Stack gap="lg">
      <SessionHeader session={session} onTerminate={() => setEnding(true)} />
      {session.unreachableSince && (
        <Alert color="orange" icon={<IconPlugConnectedX size={18} aria-hidden />}>
          {t('sessions.unreachable')}
        </Alert>
      )}
      <OutcomeAlert session={session} />
      {launching && <Phases session={session} />}
      <Tabs defaultValue="overview" keepMounted={false}>
        <Tabs.List>
          <Tabs.Tab value="overview">{t('session.overview')}</Tabs.Tab>
          <Tabs.Tab value="logs">{t('session.logs')}</Tabs.Tab>
          <Tabs.Tab value="timeline">{t('session.timeline')}</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="overview" pt="md">
          <Stack gap="lg">
            {session.status === 'RUNNING' && (
              <Suspense fallback={<Loader />}>
                <Charts id={session.id} live />
              </Suspense>
            )}
            {session.kernels.length > 1 && <KernelTable session={session} />}
            <SessionFacts session={session} />
          </Stack>
        </Tabs.Panel>
        <Tabs.Panel value="logs" pt="md">
          <Logs id={session.id} ended={outcome(session) !== null} kernels={session.kernels} />
        </Tabs.Panel>
        <Tabs.Panel value="timeline" pt="md">
          <SessionTimeline session={session} />
        </Tabs.Panel>
      </Tabs>
      <TerminateDialog sessions={[session]} opened={ending} onClose={() => setEnding(false)} />
    </Stack>
  )
}
